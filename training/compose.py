"""Composes sentences about groups from patterns: hateful ones, and harmless ones that use the same words.

Our written sentences show how people really put things; these show that it does not matter which group is named, and
that quoting, denying, answering or aiming at a thing or a single person is not hate. Every choice follows from a hash
of the pattern's number, so that the rows are the same on every machine. All of them are for fitting, none for dev.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from training.sources import Row

WEIGHT = 0.5
PER_PATTERN = 36

_GROUPS = """women,men,Muslims,Jews,Christians,Hindus,Sikhs,gay people,lesbians,trans people,bisexuals,queer people,
black people,white people,Asians,Africans,Arabs,Mexicans,Indians,Pakistanis,Chinese people,Nigerians,Somalis,Turks,
Romanians,Poles,Russians,immigrants,refugees,foreigners,migrants,asylum seekers,Roma,disabled people,autistic people,
deaf people,blind people,old people,homosexuals,Latinos,atheists,girls,feminists,people of colour"""
_ONES = """a woman,a Muslim,a Jew,a Christian,a Hindu,a gay man,a lesbian,a trans woman,a black man,a black woman,
an Asian,an African,an Arab,a Mexican,an Indian,a Pakistani,an immigrant,a refugee,a foreigner,a disabled person"""
_BAD = """disgusting,stupid,filthy,dirty,evil,inferior,worthless,lazy,violent,dangerous,subhuman,useless,vile,greedy,
primitive,repulsive,dumb,ugly,weak,unnatural,sick,perverted,backward,criminal,dishonest"""
_NOUNS = """animals,vermin,parasites,criminals,terrorists,savages,scum,rats,cockroaches,thieves,rapists,a disease,
a plague,a cancer,filth,trash,freaks,pigs,apes,liars,degenerates,perverts,invaders,monsters,idiots,a mistake"""
_FATES = """die,be deported,be locked up,burn,disappear,be shot,be exterminated,be sterilised,be sent back,suffer,be beaten,
be banned,be wiped out,hang,be thrown out,rot,be removed from this country,lose the vote,be put in camps,be kept apart"""
_ACTS = "kill,shoot,attack,beat up,deport,get rid of,hurt,burn,stab,punch,wipe out,hunt down,throw out,expel"
_FEEL = "hate,despise,can't stand,detest,loathe,am sick of,am disgusted by,really hate,want nothing to do with"
_THINGS = """mosquitoes,Mondays,printers,spiders,traffic jams,cold showers,spam emails,weeds,bugs,long meetings,rats in
the cellar,computer viruses,loud engines,bad films,rotten eggs,parking tickets,wasps,deadlines,old batteries,zombies"""
_JOBS = """bankers,politicians,landlords,artists,lawyers,journalists,managers,football fans,drivers,critics,estate agents,
influencers,bosses,gamers,tourists,cyclists,vegans,smokers,students,capitalists"""
_GOOD = "kind,welcome,brave,brilliant,friendly,hard-working,funny,equal,proud,wonderful,talented,part of this town"
_RIGHTS = """deserve respect,deserve equal rights,belong here,are our neighbours,should be safe,make this city better,
work hard,have the same rights as everybody,are welcome here,built this country too,deserve to live in peace"""
_WRONG = """wrong,racist,bigoted,hateful,unacceptable,a lie,hate speech,not okay,ignorant,disgusting,dangerous nonsense,
simply not true,prejudice,against the rules"""

_SLOTS: dict[str, list[str]] = {
    name: [" ".join(word.split()) for word in words.split(",")]
    for name, words in {
        "groups": _GROUPS, "one": _ONES, "bad": _BAD, "nouns": _NOUNS, "fate": _FATES, "act": _ACTS, "feel": _FEEL,
        "things": _THINGS, "jobs": _JOBS, "good": _GOOD, "rights": _RIGHTS, "wrong": _WRONG,
    }.items()
}  # fmt: skip

HATEFUL = (
    "{groups} are {bad}", "{groups} are {nouns}.", "all {groups} are {bad} and {bad}", "I {feel} {groups}",
    "I {feel} those {groups}, they are {nouns}.", "{groups} should {fate}", "every one of those {groups} should {fate}.",
    "{groups} deserve to {fate}", "we should {act} all the {groups}", "let's {act} some {groups} tonight",
    "I am going to {act} {one}", "someone needs to {act} those {groups}.", "{groups} don't belong here",
    "I don't want {groups} in my neighbourhood, they are {bad}", "the world would be better without {groups}",
    "never trust {one}, they are all {nouns}", "you are {bad} because you are {one}", "{one} is never as good as us",
    "no {groups} allowed here", "{groups} are ruining our country", "{groups} are not human", "{groups} make me sick",
    "{groups} have no place in our society", "stop giving jobs to {groups}, they are {bad}", "just another {bad} {groups}",
    "it is a fact that {groups} are {bad}", "I would never hire {one}", "nobody likes {groups}, go back home",
    "{groups} are less intelligent than us", "being {one} is a sickness", "how can anyone respect {groups}?",
)  # fmt: skip
HARMLESS = (
    "{groups} are {good}", "{groups} {rights}.", "I love {groups}", "we support {groups} and they {rights}",
    "my best friend is {one} and very {good}", "no, {groups} are not {bad}", "{groups} are not {nouns}, stop saying that",
    "saying that {groups} are {bad} is {wrong}", 'he wrote "{groups} are {nouns}" and that is {wrong}',
    'anyone who says "I hate {groups}" is {wrong}', "it is {wrong} to call {groups} {nouns}",
    "nobody should {act} {groups}", "we must not {act} anyone because they are {one}", "{groups} should never {fate}",
    "the claim that {groups} should {fate} is {wrong}", "I was called {bad} because I am {one}",
    "people think {groups} are {bad}, they are {wrong}", "I don't hate {groups}", "there is nothing {bad} about {groups}",
    "hating {groups} is {wrong}", "a man was arrested for shouting that {groups} are {nouns}", "being {one} is {good}",
    "as {one} I know that {groups} {rights}", "a law to protect {groups} was passed", "the film is about {one} and her family",
    "I {feel} {things}", "{things} are {bad}", "{things} should {fate}", "we need to {act} the {things}",
    "{things} are the worst, I {feel} them",
)  # fmt: skip
UNKIND = (
    "I {feel} {jobs}", "{jobs} are {bad}", "{jobs} are {nouns}", "{jobs} should be banned", "you are {bad}",
    "you are {bad} and {bad}", "he is so {bad}", "I {feel} you", "what a {bad} person you are",
)  # fmt: skip
OTHER_SCRIPTS = (
    "Сегодня хорошая погода, пойдём гулять в парк.", "Я не понимаю, что вы имеете в виду.", "Дякую за допомогу, до зустрічі!",
    "Къде е гарата, моля?", "Хвала вам, видимо се сутра.", "Καλημέρα, τι κάνεις σήμερα;", "Δεν καταλαβαίνω τι λέτε.",
    "مرحبا، كيف حالك اليوم؟", "أين أقرب محطة قطار من فضلك", "سلام، امروز هوا خیلی خوب است", "آپ کا بہت شکریہ، پھر ملیں گے",
    "שלום, מה שלומך היום?", "תודה רבה על העזרה", "नमस्ते, आप कैसे हैं?", "मुझे यह समझ में नहीं आया", "আজকের আবহাওয়া খুব সুন্দর",
    "வணக்கம், எப்படி இருக்கிறீர்கள்?", "今天天气很好，我们去公园吧。", "请问火车站在哪里？", "ありがとうございます、また明日。", "これは何ですか",
    "안녕하세요, 오늘 날씨가 좋네요.", "어디에서 왔어요?", "สวัสดีครับ วันนี้อากาศดีมาก", "გამარჯობა, როგორ ხარ?", "Բարեւ, ինչպես ես",
)  # fmt: skip


def composed() -> Iterator[Row]:
    """Rows of all patterns."""
    for text in _fill(HATEFUL):
        row = Row(text, "composed", dev=False)
        row.mark(1, WEIGHT, "hate")
        row.mark(0, WEIGHT, "sexual", "self_harm", "other_language")
        yield row
    for text in _fill(HARMLESS):
        row = Row(text, "composed", dev=False)
        row.mark(
            0,
            WEIGHT,
            "abuse",
            "hate",
            "threat",
            "sexual",
            "violence",
            "self_harm",
            "profanity",
            "other_language",
        )
        yield row
    for text in _fill(UNKIND):  # unkind to a person or a trade: not hate, and no more is claimed
        row = Row(text, "composed", dev=False)
        row.mark(0, WEIGHT, "hate", "threat", "sexual", "violence", "self_harm", "other_language")
        yield row
    for text in OTHER_SCRIPTS:
        row = Row(text, "composed", dev=False)
        row.mark(1, 3.0, "other_language")
        yield row


def _fill(patterns: Sequence[str]) -> Iterator[str]:
    for pattern in patterns:
        for turn in range(PER_PATTERN):
            text = pattern
            for place in range(pattern.count("{")):
                start, end = text.index("{"), text.index("}")
                words = _SLOTS[text[start + 1 : end]]
                seed = hashlib.sha256(f"{pattern} {turn} {place}".encode()).digest()
                text = (
                    text[:start]
                    + words[int.from_bytes(seed[:4], "big") % len(words)]
                    + text[end + 1 :]
                )
            yield text
