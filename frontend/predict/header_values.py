"""Values of MIME headers as clients write them: parameters, and the several ways of writing a name beyond ASCII.

Read are quoted strings with both ways of escaping quotes, `name*` and its continuations (RFC 5987, RFC 2231), and
encoded words (RFC 2047), which .NET clients put into `filename`. What is broken is kept as it stands: a name is a
label and never worth a refusal. Everything takes time linear in the value.
"""

from __future__ import annotations

import binascii
import itertools
import re
from collections.abc import Mapping
from encodings import normalize_encoding
from encodings.aliases import aliases
from urllib.parse import unquote_to_bytes

MAX_PARAMETERS = 64  # of one value, continuations included; a form needs two

_BLANKS = " \t\r\n"  # not `\s`: that takes U+0085 or U+2028 for an end, which are parts of names like any other
_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = r'"([^"\\]*(?:\\.[^"\\]*)*)"'
_PARAMETER = re.compile(rf';[ \t\r\n]*({_TOKEN})[ \t\r\n]*=[ \t\r\n]*(?:{_QUOTED}|([^;"]*))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_WORD = re.compile(r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,40})?\?([BbQq])\?([^?]*)\?=")
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
# No name of a charset outside this list reaches the codec registry: it would look for a module of that name, remember
# every one that it did not find, and knows codecs that take quadratic time or are no charsets.
_NO_CHARSETS = {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec", "zlib_codec"}
_CHARSETS = frozenset(
    {"koi8_u", *(name for pair in aliases.items() if pair[1] not in _NO_CHARSETS for name in pair)}
)


def media_type(content_type: str) -> str:
    """Lower case, without parameters."""
    return content_type.partition(";")[0].strip(_BLANKS).lower()


def parameters(value: str) -> dict[str, str]:
    """The parameters behind the first semicolon, names in lower case; the first of a name counts, `name*` before it."""
    found: dict[str, str] = {}
    extended: dict[str, dict[str, str]] = {}
    for match in itertools.islice(_PARAMETER.finditer(value), MAX_PARAMETERS):
        name, quoted, token = match.groups()
        text = token.rstrip(_BLANKS) if quoted is None else _ESCAPED.sub(r"\1", quoted).replace("%22", '"')
        base, star, piece = name.lower().partition("*")
        if star:
            extended.setdefault(base, {}).setdefault(piece, text)
        else:
            found.setdefault(base, text)
    for base, pieces in extended.items():
        whole = _extended(pieces)
        if whole:
            found[base] = whole
        else:
            found.setdefault(base, pieces.get("", ""))
    return found


def with_words_decoded(text: str) -> str:
    """`text` with its encoded words in clear; blanks between two of them are no part of it."""
    if "=?" not in text:
        return text
    made: list[str] = []
    run: list[tuple[str, bytes]] = []  # words side by side: a character may lie across two of them
    end = 0
    for match in _WORD.finditer(text):
        charset, encoding, content = match.groups()
        data = _word_bytes(encoding, content) if _codec(charset) else None
        if data is None:
            continue
        between = text[end:match.start()]
        if not run or between.strip(_BLANKS):
            made += [_joined(run), between]
            run = []
        run.append((charset, data))
        end = match.end()
    return "".join([*made, _joined(run), text[end:]])


def _extended(pieces: Mapping[str, str]) -> str | None:
    """RFC 5987: charset'language'percent-encoded; RFC 2231 in pieces `*0*`, `*1`, ... None: it is neither."""
    if "" in pieces:
        charset, data = _percent_decoded(pieces[""])
        return None if charset is None else _in_charset(data, charset)
    charset, whole = "utf-8", b""
    for number in range(len(pieces)):
        if f"{number}*" in pieces:
            text = pieces[f"{number}*"]
            if number == 0:
                given, data = _percent_decoded(text)
                charset = charset if given is None else given
            else:
                data = unquote_to_bytes(text)
        elif str(number) in pieces:
            data = pieces[str(number)].encode("utf-8", "replace")
        else:
            break
        whole += data
    return _in_charset(whole, charset)


def _percent_decoded(value: str) -> tuple[str | None, bytes]:
    charset, _, rest = value.partition("'")
    _, quote, encoded = rest.partition("'")
    return (charset, unquote_to_bytes(encoded)) if quote else (None, b"")


def _word_bytes(encoding: str, content: str) -> bytes | None:
    try:
        if encoding in "Qq":
            return binascii.a2b_qp(content.encode(), header=True)
        if not _BASE64.fullmatch(content):
            return None
        return binascii.a2b_base64(content + "=" * (-len(content) % 4))
    except (binascii.Error, UnicodeEncodeError):
        return None


def _joined(run: list[tuple[str, bytes]]) -> str:
    groups = itertools.groupby(run, key=lambda word: word[0].lower())
    return "".join(_in_charset(b"".join(data for _, data in words), charset) or "" for charset, words in groups)


def _codec(charset: str) -> str | None:
    """What Python calls it; None for what we do not know."""
    name = normalize_encoding(charset.lower() or "utf-8")
    return name if name in _CHARSETS else None


def _in_charset(data: bytes, charset: str) -> str | None:
    codec = _codec(charset)
    if codec is None:
        return None
    try:
        return data.decode(codec, "replace")
    except (LookupError, UnicodeError):
        return None
