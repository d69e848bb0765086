"""Phrases that ask for a number, a name or an address, or announce one.

They are uncertain on their own: people also say "call me on Monday". Each counts half, and only
where nothing of the sort is found close by.
"""

from __future__ import annotations

from penstock.pii.match import Kind

SCORE = 0.5
NEAR = 80  # characters within which a value makes the phrase superfluous

PHRASES: dict[Kind, tuple[str, ...]] = {
    "phone": (
        *("call me at", "call me on", "text me at", "text me on", "txt me", "ring me on"),
        *("phone me on", "phone me at", "my number is", "my phone number", "my cell is"),
        *("send me your number", "send your number", "give me your number", "drop your number"),
        *(
            "what's your number",
            "whats your number",
            "what is your number",
            "can i get your number",
        ),
        *("can i have your number", "ur number", "your phone number", "whatsapp me", "sms me"),
        *("here's my number", "heres my number", "here is my number", "take my number"),
        *("reach me on my phone", "call my cell", "facetime me", "exchange numbers"),
    ),
    "email": (
        *("email me at", "e-mail me at", "mail me at", "my email is", "my e-mail is", "my mail is"),
        *("send me your email", "give me your email", "what's your email", "whats your email"),
        *("your email address", "drop your email", "write me at", "shoot me an email"),
    ),
    "social": (
        *("dm me", "pm me", "message me on", "msg me on", "add me on", "follow me on"),
        *("find me on", "hmu on", "hit me up on", "contact me on", "slide into my dms"),
        *("my insta is", "my snap is", "my instagram is", "my snapchat is", "my ig is"),
        *("my discord is", "my telegram is", "what's your insta", "whats your insta"),
        *(
            "what's your snap",
            "whats your snap",
            "your snapchat",
            "your insta",
            "ur snap",
            "ur insta",
        ),
        *("talk on whatsapp", "chat on whatsapp", "move to whatsapp", "move to telegram"),
        *("talk on telegram", "chat on telegram", "on whatsapp instead", "on telegram instead"),
        *("add my snap", "add my insta", "join my discord", "check my bio", "link in my bio"),
        *("send me your snap", "send me your insta", "give me your insta", "give me your snap"),
    ),
    "address": (
        *("my address is", "send me your address", "what's your address", "whats your address"),
        *("give me your address", "your home address", "where do you live", "where you live"),
        *("tell me your address", "meet me at my place", "come to my house", "come to my place"),
    ),
}
