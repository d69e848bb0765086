"""Numbers said in words, and what digits look like when letters stand for them.

English, Spanish, French and German, as digits that are read out one by one or in tens.
"""

from __future__ import annotations

ONES = {
    **dict.fromkeys(("zero", "oh", "o", "nil", "cero", "null", "nought", "naught"), "0"),
    **dict.fromkeys(("one", "uno", "un", "une", "eins"), "1"),
    **dict.fromkeys(("two", "dos", "deux", "zwei", "zwo"), "2"),
    **dict.fromkeys(("three", "tres", "trois", "drei"), "3"),
    **dict.fromkeys(("four", "cuatro", "quatre", "vier"), "4"),
    **dict.fromkeys(("five", "cinco", "cinq", "funf", "fuenf"), "5"),
    **dict.fromkeys(("six", "seis", "sechs"), "6"),
    **dict.fromkeys(("seven", "siete", "sept", "sieben"), "7"),
    **dict.fromkeys(("eight", "ocho", "huit", "acht"), "8"),
    **dict.fromkeys(("nine", "nueve", "neuf", "neun", "niner"), "9"),
}
TEENS = {
    word: str(number)
    for number, word in enumerate(
        (
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen"),
        ),
        10,
    )
}
TENS = {
    word: str(number)
    for number, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), 2
    )
}
TIMES = {"double": 2, "triple": 3, "doble": 2, "triple-": 3}
LEET = str.maketrans("oilsbz", "011582")

ALL = sorted([*ONES, *TEENS, *TENS, "double", "triple", "doble", "hundred"], key=len, reverse=True)


def digits_of(tokens: list[str]) -> str:
    """Give the digits that `tokens`, number words and digits, are read out for."""
    parts: list[str] = []
    times, tens = 1, ""
    for token in tokens:
        if token in TIMES:
            times = TIMES[token]
            continue
        one = ONES.get(token) or (token if token.isdigit() else "")
        if tens:
            # `fifty five` is 55 and `fifty twelve` is 5012.
            parts.append(tens if len(one) == 1 and one != "0" else tens + "0")
            tens = ""
        if token in TENS:
            tens = TENS[token]
        elif token == "hundred":
            parts.append("00")
        else:
            parts.append((one or TEENS.get(token, "")) * times)
        times = 1
    if tens:
        parts.append(tens + "0")
    return "".join(parts)
