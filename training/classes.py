"""Words that share a fold class: what is learnt about one of them holds for the others.

The classes go into the model file, so that serving folds exactly as training did. Only words that are neutral by
themselves stand here; a slur has a weight of its own.
"""

from __future__ import annotations

_GROUPS = """
women woman girls females female wives men males husbands boys feminists mothers
gay gays lesbian lesbians bisexual bisexuals queer queers homosexual homosexuals trans transgender transsexual
transsexuals transgenders lgbt lgbtq nonbinary intersex
black blacks white whites asian asians african africans latino latinos latina latinas hispanic hispanics arab arabs
arabic mexican mexicans indian indians pakistani pakistanis chinese japanese korean koreans vietnamese filipino
filipinos thai nigerian nigerians somali somalis ethiopian ethiopians moroccan moroccans turkish turks turk kurds
kurdish persian persians iranian iranians iraqi iraqis syrian syrians afghan afghans albanian albanians polish poles
romanian romanians bulgarian bulgarians russian russians ukrainian ukrainians greek greeks italian italians irish
german germans french english british american americans europeans brazilian brazilians cuban cubans haitian haitians
jamaican jamaicans caribbean bangladeshi bangladeshis nepali tamil tamils punjabi punjabis bengali aboriginal
aboriginals indigenous native natives maori maoris roma romani travellers sinti inuit
jew jews jewish muslim muslims islam islamic christian christians catholic catholics protestant protestants hindu
hindus sikh sikhs buddhist buddhists atheist atheists mormon mormons religious hijabi hijabis dalit dalits
israeli israelis palestinian palestinians
immigrant immigrants migrant migrants refugee refugees foreigner foreigners foreign asylum seekers illegals aliens
minority minorities
disabled disability disabilities autistic autism blind deaf wheelchair handicapped amputees downs bipolar
schizophrenic schizophrenics dyslexic
elderly old pensioners boomers boomer millennials teenagers poor homeless
"""

CLASSES: dict[str, str] = {
    "GROUP": _GROUPS,
    "YOU": "you your yours yourself yourselves u ur you're youre you've you'll you'd ya yall y'all",
    "ME": "i me my mine myself i'm im i've i'll i'd we us our ours we're we'll we've",
    "THEY": "they them their theirs themselves they're theyre they'll they've those these",
    "ONE": "he she him her his hers himself herself he's she's",
    "ALL": "all every most any each everyone everybody always ever only just",
    "NOT": "not no never none nobody nothing neither nor without cannot can't cant won't wont don't dont doesn't "
    "doesnt didn't didnt isn't isnt aren't arent wasn't wasnt weren't shouldn't shouldnt wouldn't couldn't hasn't "
    "haven't ain't aint stop against",
    "MUST": "should must ought need needs deserve deserves deserved shall supposed gonna going will wanna want",
    "SAID": "said says say saying called calls call calling told tell tells wrote writes shouted yelled tweeted posted "
    "claims claimed claim heard reads quote quoted word words slur",
    "QUOTE": '" \u201c \u201d \u00ab \u00bb',
}


def fold_classes() -> dict[str, list[str]]:
    """Class name to its words, as the model file keeps them."""
    return {name: sorted(set(words.split())) for name, words in CLASSES.items()}
