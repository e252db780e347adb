"""From a model's answer to Python source. Total: any string gives a result, never an exception, in time that grows with
its length (no regular expression here looks further than its own line)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice, pairwise

from quintain_generator.domain.gate import has_statements, is_excerpt, syntax_error_line

# An opening tag stands at the beginning of a line; one within a line is spoken of, or part of the code.
_TAG = re.compile(
    r"^[ \t]*(?:<\|?(?:think|thinking|thought|reasoning|analysis|scratchpad)\b[^<>/\n]*>|\[THINK\])"
    r"|(?P<closing><\|?/(?:think|thinking|thought|reasoning|analysis|scratchpad)\|?>|\[/THINK\])",
    re.IGNORECASE | re.MULTILINE,
)
# What chat templates put around and between messages, where a server lets it through. It is looked for at the ends of a
# line, and what is no rarity in code only at the ends of the answer: elsewhere it may be part of the code.
_TOKEN = (
    r"(?:<[|\uff5c](?!/?(?:think|thinking|thought|reasoning|analysis|scratchpad)\b)[^<>|\uff5c\n]{1,40}[|\uff5c]>"
    r"|<(?:start|end)_of_turn>)"
)
_ROLE = r"(?:<\|(?:im_start|start|start_header_id)\|>|<start_of_turn>)(?:assistant|model)"
_OPENING_TOKENS = re.compile(rf"^[ \t]*(?:{_ROLE}|{_TOKEN})(?:{_TOKEN})*(?:\n)?", re.MULTILINE)
_CLOSING_TOKENS = re.compile(rf"{_TOKEN}{{1,20}}[ \t]*$", re.MULTILINE)
_OUTER_TOKENS = ("<s>", "</s>", "[INST]", "[/INST]")
_CHANNEL = re.compile(r"<\|channel\|>[ \t]*(\w+)[^\n]{0,80}?<\|message\|>")
_MESSAGE_END = re.compile(r"<\|(?:end|return|call|start|channel)\|>")
_LANGUAGE_LINES = ("python", "py", "python3")
_CODE_START = re.compile(r"^(?:import |from \w|def |async def |class |@\w|[\"']{3}|#)")
_DEFINITION = re.compile(r"^(?:def \w|async def \w|class \w|import \w|from \w[\w.]* import )")
_FUNCTION = re.compile(r"[ \t]*(?:async )?def \w")
_MARKUP = re.compile(r"(?:<[^<>]*>)+")
_SENTENCE = re.compile(r"(?:[^\W\d_]|')+,? (?:[^\W\d_]|')+,? (?:[^\W\d_]|')+")
_CODE_LINE = re.compile(
    r"[ \t\f]+\S|<{5}|={5}|>{5}|@\w|[)\]}]|\w[\w.]*\("
    r"|[\w.]+(?:\[[^\]]*\])?(?:, ?[\w.]+)*(?::[^=]+)? ?[-+*/%|&^@]*=(?!=)"
    r"|(?:assert|async|await|break|case|class|continue|def|del|elif|else|except|finally|for|from|global|if|import|match"
    r"|nonlocal|pass|print|raise|return|try|type|while|with|yield)\b"
)
_LANGUAGE = re.compile(r"[\w+.-]*")
# Invisible, or spaces of other kinds: a web page's, not a programmer's.
_UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u200e\u200f\u2060\u00ad")) | dict.fromkeys(
    map(ord, "\u00a0\u2002\u2003\u2009\u202f\u3000"), " "
)

MAX_RATIONALE_CHARACTERS = 4000
# What is parsed in search of the policy, over all attempts: an answer full of fences must not keep us busy.
_MAX_TRIALS = 200
_MAX_TRIED_CHARACTERS = 1_000_000
_MAX_FENCES = 20_000
_MAX_WIDER_BLOCKS = 40
_MAX_BARE_STARTS = 20
_MAX_CUTS = 8
_MAX_QUOTED = 8
_MAX_JUDGED = 200  # characters of a line that is code or words


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was found in an answer. `source` is empty if nothing in it looks like code. `rationale` is the prose before
    the code.

    `is_policy` is False for code that is only the best guess."""

    source: str
    rationale: str
    is_policy: bool = False


def extract(text: str, is_policy: Callable[[str], bool]) -> Extracted:
    """Find the policy in `text`.

    `is_policy` says whether a source parses and defines the entry points; the last fenced block for which it is true
    wins (a model that corrects itself does so at the end), unless it is an excerpt of an earlier one. Without one, the
    largest block is returned, so that the gate can say what is wrong with it.
    """
    trials = _Trials(is_policy)
    read = [_Reading(reading) for reading in readings(text)]
    for reading in read:
        found = _choose(reading, trials)
        if found is not None:
            return found
    blocks = [block for reading in read for block in reading.blocks()]
    if blocks:
        return Extracted(next(max(blocks, key=lambda block: block.size).forms()), read[0].rationale())
    lines = read[0].lines
    definition = next((n for n, line in enumerate(lines) if _DEFINITION.match(line)), None)
    if definition is not None:
        return Extracted("\n".join(lines[_begin(lines, definition, 0) :]).strip("\n") + "\n", "")
    return Extracted("", cut_at_a_word(read[0].text.strip(), MAX_RATIONALE_CHARACTERS))


def cut_at_a_word(text: str, most: int) -> str:
    """`text` in at most `most` characters; a longer one ends after a whole word, if it has any."""
    if len(text) <= most:
        return text
    mark = " ..."
    head = text[: most - len(mark) + 1]
    return (re.sub(r"\s+\S*$", "", head) if re.search(r"\S\s", head) else head[:-1]) + mark


def readings(text: str) -> list[str]:
    """The answer without its thinking, and then the whole if that may be what was meant: nothing else was said, or what
    looks like thinking does not begin and end. Both with one kind of line end, no byte order mark, and no lone
    surrogates (they cannot be stored)."""
    whole = text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff").encode("utf-8", "replace").decode("utf-8")
    whole = _without_tokens(_last_message(whole))
    spoken, certain = _without_thinking(whole)
    if spoken == whole or (certain and spoken.strip()) or _has_code(spoken):
        return [spoken]
    return [spoken, whole]


def _last_message(text: str) -> str:
    """What is said on the channel ``final``, where an answer still has its channels; else all of it."""
    final = [begin for begin in _CHANNEL.finditer(text) if begin[1] == "final"]
    if not final:
        return text
    end = _MESSAGE_END.search(text, final[-1].end())
    said = text[final[-1].end() : end.start() if end else len(text)]
    return said if said.strip() else text


def _without_tokens(text: str) -> str:
    if "<" not in text and "[" not in text:
        return text
    plain = _CLOSING_TOKENS.sub("", _OPENING_TOKENS.sub("", text))
    for token in _OUTER_TOKENS:
        if plain.lstrip().startswith(token):
            plain = plain.lstrip().removeprefix(token)
        if plain.rstrip().endswith(token):
            plain = plain.rstrip().removesuffix(token)
    return plain


def _without_thinking(text: str) -> tuple[str, bool]:
    """The text, and whether each tag in it has its counterpart."""
    kept: list[str] = []
    at = 0
    thinking, certain = False, True
    for tag in _TAG.finditer(text):
        if tag["closing"]:
            if not thinking:
                kept.clear()  # a template had put the opening tag into the prompt
                certain = False
            thinking, at = False, tag.end()
        elif not thinking:
            kept.append(text[at : tag.start()])
            thinking = True
    if not thinking:
        kept.append(text[at:])
    return "".join(kept), certain and not thinking


def _has_code(text: str) -> bool:
    reading = _Reading(text)
    return "<<<<<" in text or any(
        line.strip() for block in reading.blocks() for line in reading.lines[block.opening.line + 1 : block.end]
    )


class _Trials:
    """`is_policy`, as long as there is something left to spend on it."""

    def __init__(self, is_policy: Callable[[str], bool]) -> None:
        self.is_policy = is_policy
        self._left, self._characters = _MAX_TRIALS, _MAX_TRIED_CHARACTERS

    def afford(self, characters: int) -> bool:
        if self._left <= 0 or characters > self._characters:
            return False
        self._left -= 1
        self._characters -= characters
        return True

    def policy_in(self, block: _Block) -> str:
        """Empty if it holds none, or if finding out costs too much."""
        return next(filter(self.is_policy, block.forms()), "") if self.afford(block.size) else ""


def _choose(reading: _Reading, trials: _Trials) -> Extracted | None:
    blocks = reading.blocks()
    if not blocks:
        return _bare(reading.text.translate(_UNSEEN).split("\n"), trials)
    unclosed = blocks[-1] if blocks[-1].end == len(reading.lines) else None
    candidates = sorted((*blocks, *reading.wider_blocks()), key=lambda block: (block.end, block.size), reverse=True)
    for at, block in enumerate(candidates):
        code = trials.policy_in(block)
        if code:
            earlier = (trials.policy_in(other) for other in candidates[at + 1 :] if other.end <= block.opening.line)
            whole = next((other for other in earlier if other and is_excerpt(code, other)), code)
            return Extracted(whole, reading.rationale(), is_policy=True)
        if block is unclosed:
            lines = next(block.forms()).split("\n")
            end = _python_lines(lines, trials)
            rest = next((line for line in lines[end:] if line.strip()), "")
            if _is_code(rest) and any(map(_FUNCTION.match, lines)):  # cut off: what came before is not the answer
                return Extracted("\n".join(lines), reading.rationale())
            code = "\n".join(lines[:end]).strip("\n") + "\n"
            if trials.is_policy(code):
                return Extracted(code, reading.rationale(), is_policy=True)
    return None


# ------------------------------------------------------------------------------------------------------ fenced blocks


@dataclass(frozen=True, slots=True)
class _Fence:
    line: int
    mark: str
    info: str
    prefix: str  # white space, or the signs of a quotation
    after_words: bool = False  # on the same line


@dataclass(frozen=True, slots=True)
class _Block:
    reading: _Reading
    opening: _Fence
    end: int

    @property
    def size(self) -> int:
        return self.reading.ends[self.end] - self.reading.ends[self.opening.line + 1]

    def forms(self) -> Iterator[str]:
        """The code as it may have been meant, the likeliest first."""
        body = self.reading.lines[self.opening.line + 1 : self.end]
        first = next((n for n, line in enumerate(body) if line.strip()), 0)
        if body and body[first].strip(" \t>").lower() in _LANGUAGE_LINES:  # the name of the language, a line too late
            body = body[first + 1 :]
        margin = len(self.opening.prefix)
        for _ in range(min(self.opening.prefix.count(">"), _MAX_QUOTED)):
            body = [_unquoted(line) for line in body]
        plain = "\n".join(body)
        cut = "\n".join(line[min(margin, len(line) - len(line.lstrip())) :] for line in body)
        for form in dict.fromkeys((textwrap.dedent(plain), cut)):
            code = form.strip("\n").removesuffix("```").rstrip("\n") + "\n"
            yield code
            seen = code.translate(_UNSEEN)
            if seen != code:
                yield seen


def _unquoted(line: str) -> str:
    stripped = line.lstrip(" \t")
    return stripped.removeprefix(">").removeprefix(" ") if stripped.startswith(">") else line


def _fence(number: int, line: str) -> _Fence | None:
    body = line.lstrip(" \t>\u00a0\u200b\ufeff")
    prefix = line[: len(line) - len(body)]
    mark = body[: len(body) - len(body.lstrip(body[:1]))] if body[:1] in ("`", "~") else ""
    if len(mark) >= 3:
        info = body[len(mark) :].strip()
        return None if mark[0] == "`" and "`" in info else _Fence(number, mark, info, prefix)
    head, mark, info = body.rpartition("```")
    if head.strip() and "`" not in head and _LANGUAGE.fullmatch(info.strip()):
        return _Fence(number, mark, info.strip(), "", after_words=True)
    return None


class _Reading:
    """One way to read the answer, line by line."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = text.split("\n")
        self.ends = list(accumulate((len(line) + 1 for line in self.lines), initial=0))
        marked = (n for n, line in enumerate(self.lines) if "```" in line or "~~~" in line)
        found = (_fence(number, self.lines[number]) for number in islice(marked, _MAX_FENCES))
        self.fences = [fence for fence in found if fence is not None]

    def blocks(self) -> list[_Block]:
        """Fenced blocks in order; one that is never closed ends with the text."""
        found: list[_Block] = []
        opening: _Fence | None = None
        for fence in self.fences:
            if opening is None:
                opening = fence
            elif fence.after_words:
                if not fence.info:  # closed on the last line of the code
                    found.append(_Block(self, opening, fence.line + 1))
                    opening = None
            elif fence.info:  # a new block before the last was closed
                found.append(_Block(self, opening, fence.line))
                opening = fence
            elif fence.mark[0] == opening.mark[0] and len(fence.mark) >= len(opening.mark):
                found.append(_Block(self, opening, fence.line))
                opening = None
        if opening is not None:
            found.append(_Block(self, opening, len(self.lines)))
        return found

    def wider_blocks(self) -> Iterator[_Block]:
        """Blocks whose first fence within is in a string or a comment of theirs, up to each later fence and the end."""
        return islice(
            (
                _Block(self, start, end)
                for start, inner in pairwise(self.fences)
                if self._in_text(start.line + 1, inner.line)
                for end in (
                    len(self.lines),
                    *(fence.line for fence in reversed(self.fences) if fence.line > inner.line),
                )
            ),
            _MAX_WIDER_BLOCKS,
        )

    def _in_text(self, begin: int, line: int) -> bool:
        if self.lines[line].lstrip().startswith("#"):
            return True
        before = self.text[self.ends[begin] : self.ends[line + 1]]
        return before.count('"""') % 2 == 1 or before.count("'''") % 2 == 1

    def rationale(self) -> str:
        prose = self.text[: self.ends[self.fences[0].line]] if self.fences else ""
        return cut_at_a_word(prose.strip(), MAX_RATIONALE_CHARACTERS)


# ------------------------------------------------------------------------------------------------------ without fences


def _bare(lines: list[str], trials: _Trials) -> Extracted | None:
    """Code without a fence: from a line that starts like code as far as it is Python. What begins with words that look
    like code is passed over, but nothing that is code is: a policy is taken whole or not at all."""
    floor = 0
    for _ in range(_MAX_BARE_STARTS):
        start = next((n for n in range(floor, len(lines)) if _CODE_START.match(lines[n])), len(lines))
        begin = _begin(lines, start, floor)
        end = begin + _python_lines(lines[begin:], trials)
        code = "\n".join(lines[begin:end]).strip("\n") + "\n"
        if trials.is_policy(code):
            rest = next((line for line in lines[end:] if line.strip()), "")
            return None if _is_code(rest) else Extracted(code, "", is_policy=True)
        if has_statements(code):
            return None
        floor = max(start, end) + 1
    return None


def _begin(lines: list[str], start: int, floor: int) -> int:
    """The first line of the code around `start`."""
    begin = start
    for n in range(start - 1, floor - 1, -1):
        if _is_code(lines[n]):
            begin = n
        elif lines[n].strip():
            break
    return begin


def _is_code(line: str) -> bool:
    """Whether a line, if it is not in a fence, looks more like code than like words."""
    shown = _MARKUP.sub("", line[:_MAX_JUDGED], count=1)
    if not _CODE_LINE.match(shown):
        return False
    if shown[:1].isspace() or not _SENTENCE.search(shown):
        return True
    ending = shown.rstrip()[-1:]
    return ending not in ".!?:," or (ending == ":" and syntax_error_line(f"{shown.rstrip()} pass") == 0)


def _python_lines(lines: list[str], trials: _Trials) -> int:
    """How many of the first lines are Python together; 0 if none are, or if finding out costs too much."""
    end = len(lines)
    for _ in range(_MAX_CUTS):
        if end <= 0 or not trials.afford(sum(map(len, lines[:end])) + end):
            break
        wrong = syntax_error_line("\n".join(lines[:end]))
        if wrong == 0:
            return end
        end = min(end - 1, wrong - 1)
    return 0
