"""Which models see images, by their names: only a guess, which a setting overrules.

No protocol says it. A model that is wrongly taken for blind leaves images to a human; one that is
wrongly shown an image refuses, which is a provider's failure. Neither passes anything.
"""

from __future__ import annotations

import re
from typing import Final

_SEEING: Final = re.compile(
    r"(omni-moderation|gpt-4o|gpt-4\.|gpt-4-turbo|gpt-[5-9]|chatgpt-4o|o[134](?!-mini|\d)|o4-mini"
    r"|claude|gemini|gemma-?3|pixtral|mistral-(medium|small)-?3|ministral-3|grok-(4|2-vision)"
    r"|llama-?4|llama-guard-?4|llava|bakllava|minicpm-?v|moondream|internvl|shieldgemma-?2|nova-"
    r"|phi-(3\.5|4)-(vision|multimodal)|qwen.*(vl|omni)|kimi-vl|glm-4\.\dv)"
)
_ANYWHERE: Final = re.compile(r"vision|[-_.\d]vl\b")
_BLIND: Final = re.compile(r"audio|realtime|transcribe|tts|embedding|search-preview")


def sees_by_name(model: str) -> bool:
    """Whether a model of this name is known to see; a vendor's prefix (`vendor/model`) is ignored.

    >>> sees_by_name("openai/gpt-4o-mini"), sees_by_name("text-moderation-latest")
    (True, False)
    """
    name = model.lower().rpartition("/")[2]
    if _BLIND.search(name):
        return False
    return bool(_SEEING.match(name) or _ANYWHERE.search(name))
