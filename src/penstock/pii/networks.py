"""Social networks: what they are called and where their profiles lie."""

from __future__ import annotations

from penstock.pii.listed import listed

NAMES: tuple[str, ...] = (
    *(r"[i1!]n[s5$][t7]?[t7][a4@][\s._-]{0,2}gr[a4@]m", r"[i1!]n[s5$][t7][a4@]", "ig", "finsta"),
    *(r"[s5$]n[a4@]p[\s._-]?ch[a4@]t", r"[s5$]n[a4@]p", "sc", "tw[i1]tt[e3]r"),
    *(r"t[i1]k[\s._-]?t[o0]k", r"t[e3]l[e3][\s._-]?gr[a4]m", "tg", "kik", "wechat", "skype"),
    *(r"d[i1]sc[\s._-]?[o0]rd", r"f[a4]c[e3][\s._-]?b[o0]{2}k", "fb", r"wh[a4]ts[\s._-]?[a4]pp"),
    *("bluesky", "bsky", "mastodon", "twitch", "reddit", "linkedin", "youtube", "yt", "vk"),
    *("onlyfans", "patreon", "cash ?app", "venmo", "pinterest", "tumblr", "steam", "psn", "xbox"),
    *("gamertag", "viber", "wickr", "threema", "roblox", "soundcloud", "bereal"),
)
"""Patterns of names, with their usual disguises."""

TRIGGERS: tuple[str, ...] = (
    *("insta", "insta ", "1nsta", "inst4", "1nst4", "in5ta", "!nsta", "inst@", "in$ta", "insgram"),
    *(" ig ", " ig:", "ig:", "finsta", "snap", "sn4p", "sn@p", "5nap", "$nap", " sc ", " sc:"),
    *("twitter", "tw1tter", "tiktok", "tik tok", "t1kt0k", "tikt0k", "t1ktok", "telegram"),
    *("tele gram", "telegr4m", "t3legram", " tg ", " tg:", "kik", "wechat", "skype", "discord"),
    *("d1scord", "disc0rd", "d1sc0rd", "dis cord", "disc ord", "facebook", "face book", "faceb00k"),
    *("f4cebook", " fb ", " fb:", "whatsapp", "whats app", "wh4tsapp", "bluesky", "bsky"),
    *("mastodon", "twitch", "reddit", "linkedin", "youtube", " yt ", " yt:", " vk ", "onlyfans"),
    *("patreon", "cashapp", "cash app", "venmo", "pinterest", "tumblr", "steam", "psn", "xbox"),
    *("gamertag", "viber", "wickr", "threema", "roblox", "soundcloud", "bereal"),
)
"""Plain pieces of those names for the automaton."""

PROFILES: dict[str, str] = {  # host: what a path to a person looks like there
    "facebook.com": r"(?!(?:watch|events?|groups?|help|sharer|policies|login)\b)[\w.-]+",
    "fb.com": r"[\w.-]+",
    "fb.me": r"[\w.-]+",
    "m.me": r"[\w.-]+",
    "messenger.com": r"t/[\w.-]+",
    "instagram.com": r"(?!(?:p|reel|reels|explore|stories|accounts|tv)\b)[\w.]+",
    "instagr.am": r"(?!p/)[\w.]+",
    "twitter.com": r"(?!(?:home|search|i|intent|share|hashtag|login|explore)\b)\w+",
    "x.com": r"(?!(?:home|search|i|intent|share|hashtag|login|explore)\b)\w+",
    "tiktok.com": r"@[\w.]+",
    "snapchat.com": r"(?:add|t)/[\w.-]+",
    "t.me": r"(?:joinchat/|s/|\+)?[\w+-]{3,}",
    "telegram.me": r"[\w+-]{3,}",
    "telegram.dog": r"[\w+-]{3,}",
    "wa.me": r"(?:qr/|message/)?\+?\w{5,}",
    "api.whatsapp.com": r"send\S*",
    "chat.whatsapp.com": r"\w{6,}",
    "discord.gg": r"[\w-]{2,}",
    "discord.com": r"(?:invite|users)/[\w-]+",
    "discordapp.com": r"(?:invite|users)/[\w-]+",
    "dsc.gg": r"[\w-]{2,}",
    "linkedin.com": r"(?:in|pub)/[\w%-]+",
    "youtube.com": r"(?:@[\w.-]+|(?:user|c|channel)/[\w-]+)",
    "twitch.tv": r"(?!(?:directory|videos|p|downloads)\b)\w{3,}",
    "reddit.com": r"(?:u|user)/[\w-]+",
    "pinterest.com": r"(?!(?:pin|search|ideas)\b)[\w-]+",
    "onlyfans.com": r"[\w.-]+",
    "patreon.com": r"(?!posts\b)[\w-]+",
    "cash.app": r"\$\w+",
    "paypal.me": r"[\w.-]+",
    "venmo.com": r"[\w/-]+",
    "kik.me": r"[\w.-]+",
    "signal.me": r"\S{2,}",
    "signal.group": r"\S{2,}",
    "line.me": r"\S{4,}",
    "vk.com": r"(?!(?:feed|im|video|wall)\b)[\w.]+",
    "ok.ru": r"(?:profile/)?[\w.]+",
    "threads.net": r"@[\w.]+",
    "bsky.app": r"profile/[\w.:-]+",
    "steamcommunity.com": r"(?:id|profiles)/[\w-]+",
    "linktr.ee": r"[\w.-]+",
    "beacons.ai": r"[\w.-]+",
    "bereal.com": r"[\w.-]+",
    "soundcloud.com": r"(?!(?:discover|search)\b)[\w-]+",
    "mastodon.social": r"@\w+",
}
SUBDOMAINS = ("tumblr.com",)

NO_HANDLES: frozenset[str] = listed(
    """media import charset keyframes font supports page layer container include mixin extend
    tailwind apply use forward function return if else each for while property namespace
    counter- style override param params returns throws see since author version deprecated link
    code test before after beforeeach aftereach autowired bean component service repository
    controller entity table id column getter setter data builder nullable notnull inject module
    interface staticmethod classmethod dataclass abstractmethod cached cache app pytest fixture
    wraps contextmanager overload final typing everyone here channel all types latest next beta
    alpha suppresswarnings functionalinterface safevarargs value requestmapping getmapping
    postmapping input output viewchild hostlistener ngmodule injectable directive pipe state
    binding published main objc escaping autoclosure available discardableresult task property-
    read method template example typedef type enum class constructor private public protected
    readonly todo internal home work school night noon least most best once first last"""
)
"""What stands behind an @ in programs and in slang."""

NO_NAMES: frozenset[str] = listed(
    """a an the and or but is was are not now never always very so too also just really only still
    down up back out off on in at to for of from with by as it its this that these those my your
    his her our their me you him them us great good bad fun cool nice dead boring broken full
    new old private public open closed true false none null nil yes no on off undefined here
    there where what when why how who which banned hacked gone deleted disabled locked blocked
    empty slow fast best worst better worse all some any every page app story stories post posts
    account accounts feed username name handle profile user id below above in-bio bio linked
    same different mine yours going being getting acting not working trash garbage amazing
    awesome addictive free paid popular blowing lit fire crazy weird annoying stupid wild dry
    safe ok okay fine right wrong like love hate added follow following followers influencer
    model game games video videos live online offline coming soon more most much many lot lots
    about because if then than http https www com marketing ads support team premium business
    login password settings download"""
)
"""Ordinary words that stand where a handle could."""
