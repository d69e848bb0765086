/** FIST's client at its old path: `require("./client_libraries/javascript/fist-client")`. */

const BUILT = "../../../clients/javascript/dist/index.cjs";

function client() {
  try {
    return require(BUILT);
  } catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    throw new Error("the JavaScript client is not built: run `make clients`", { cause: error });
  }
}

module.exports = client();
