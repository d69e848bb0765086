"""Moderation: a text or images go in, a verdict that says why comes out.

    text ──► reading: rules (certain? done) ─► local model ─► provider ─┐ cached, joined: pipeline
    images ► looking: hashes ─► a provider that sees ───────────────────┤
                                                                        ▼
    verdict ◄─ store ◄─ policy.decide ◄─ lists (on every request) ◄─ parts: one item
       └─ review ─► referral: people look at it

POST /v1/moderations (`api`), alone or in batches (`tasks`); the source systems' paths are thin
adapters in `server/compat/`; policies and lists are edited at `server/routes/`.

Beyond the shape that all services share:

- reading: `rules` are the prescreen with personal data and `spam`; `lexicon` holds the terms that
  the prescreen looks for, `views` read a text the ways evasion writes it, with the `characters`
  that look alike, `disguises` look up what is left of a word when its disguise is undone;
  `contexts` lower what is quoted, reported or negated; `excerpt` chooses what a paid provider
  reads; `language` names the one of a text that is not English
- deciding: `policies` are versioned documents (`policy_store`), `holdings` which of them holds for
  whom; `rehearsal` says what another one would have decided about `recorded` verdicts
  (`rehearsal_store`), with `vector`, a judge over arrays; `capacity` suggests thresholds; `lists`
  are users' words and hashes (`list_store`), checked by `list_entries`, read from and written to
  `list_files`; `list_index` keeps them up to date in each process, `matcher` finds them as
  `list_words`, `list_wildcards` and `list_patterns`, `listed` is their answer; `parts` make one
  item of a text and its images
- answering: `answers` are OpenAI's requests and responses, `filtering` is FilterX's view of a
  verdict; `perspective` scores comments as Google's API did: `passages` are what is read,
  `attributes` the formulae, `calibration` fits them to a user's `logged_scores`
  (`perspective_store`)
"""

from penstock.services.moderation.service import ModerationService

__all__ = ["ModerationService"]
