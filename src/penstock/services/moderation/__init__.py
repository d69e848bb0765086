"""Moderation: a text goes in, a verdict that says why comes out.

    text ─► service ─► pipeline: cached? in flight?  ── scores ─► policy ─► verdict ─► store
                └─ if not, reading: prescreen (certain? done) ─► local model ─► provider

POST /v1/moderations (`api`), alone or in batches (`tasks`); FIST's paths are thin adapters in
`server/compat/`.

Beyond the shape that all services share: `answers` are OpenAI's requests and responses; `reading`
runs the stages; `lexicon` holds the terms that the prescreen looks for, `views` read a text the
ways evasion writes it, with the `characters` that look alike; `contexts` lower what is quoted,
reported or negated; `excerpt` chooses what a paid provider reads.
"""

from penstock.services.moderation.service import ModerationService

__all__ = ["ModerationService"]
