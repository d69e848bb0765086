"""Moderation: a text or images go in, a verdict that says why comes out.

    text ──► reading: rules (certain? done) ─► local model ─► provider ─┐ cached, joined: pipeline
    images ► looking: hashes ─► a provider that sees ───────────────────┤
                                                                        ▼
    verdict ◄─ store ◄─ policy.decide ◄─ lists (on every request) ◄─ parts: one item
       └─ review ─► referral: people look at it

POST /v1/moderations (`api`), alone or in batches (`tasks`); the source systems' paths are thin
adapters in `server/compat/`; policies are edited at `server/routes/`.

Beyond the shape that all services share:

- reading: `rules` are the prescreen of `penstock.words` with personal data and `spam`; `excerpt`
  chooses what a paid provider reads; `language` names the one of a text that is not English;
  `image_sources` bring the bytes of images; `evidence` gathers what is known of an item's `parts`,
  side by side (`together`)
- deciding: `policies` are versioned documents (`policy_store`), `holdings` which of them holds for
  whom; `rehearsal` says what another one would have decided about `recorded` verdicts
  (`rehearsal_store`), with `vector`, a judge over arrays; `capacity` suggests thresholds; `records`
  are what is kept of a verdict
- answering: `answers` are OpenAI's requests and responses, `filtering` is FilterX's view of a
  verdict; `perspective` scores comments as Google's API did: `passages` are what is read,
  `attributes` the formulae, `calibration` fits them to a user's `logged_scores`
  (`perspective_store`)
"""

from penstock.services.moderation.service import ModerationService

__all__ = ["ModerationService"]
