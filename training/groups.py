"""Groups and neutral sentences about them: the report's check for false alarms on mentions."""

from __future__ import annotations

FAMILIES: dict[str, tuple[str, ...]] = {
    "Black people": ("black", "african", "africans", "nigerian", "somali"),
    "white people": ("white", "european", "europeans"),
    "Asian people": ("asian", "asians", "chinese", "japanese", "indian", "vietnamese"),
    "Latin American people": ("latino", "latina", "mexican", "mexicans", "brazilian"),
    "Arab people": ("arab", "arabs", "moroccan", "syrian"),
    "Jewish people": ("jewish", "jew", "jews"),
    "Muslims": ("muslim", "muslims", "islamic"),
    "Christians": ("christian", "christians", "catholic"),
    "Hindus and Sikhs": ("hindu", "hindus", "sikh", "sikhs"),
    "immigrants and refugees": (
        "immigrant",
        "immigrants",
        "refugee",
        "refugees",
        "migrant",
        "migrants",
    ),
    "Roma": ("roma", "romani"),
    "women": ("woman", "women", "girls", "female"),
    "men": ("man", "men", "male"),
    "gay, lesbian, bisexual": ("gay", "lesbian", "bisexual", "queer"),
    "transgender people": ("trans", "transgender", "nonbinary"),
    "disabled people": ("disabled", "autistic", "deaf", "blind"),
    "old people": ("old", "elderly", "pensioners"),
}

NEUTRAL: tuple[str, ...] = (
    "My neighbour is {} and we have dinner together on Fridays.",
    "The museum opened an exhibition about {} artists.",
    "As a {} person I have lived here all my life.",
    "The survey asked four hundred {} people about public transport.",
    "Two {} students won the science prize this year.",
    "There is a new café run by a {} family on our street.",
    "The documentary follows a {} doctor through her first year.",
    "It is wrong to treat {} people worse than anybody else.",
)
