"""The figures of the house: `python -m tests.static.figures` prints them, `test_figures.py` holds their bounds.

A length of a file is all of its lines; a length of a function its code lines, signature with them: no docstring, no
comment, no blank line. A broad except catches Exception, BaseException or everything.
"""

from __future__ import annotations

import ast
import functools
import io
import statistics
import tokenize
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("engine", "frontend")
LONG_LINES = 40

_NO_CODE = frozenset(
    (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
)
_BROAD = frozenset(("Exception", "BaseException"))


@dataclass(frozen=True, slots=True)
class Broad:
    """One broad except. `reason`: the comment on its line, above it or at the beginning of what it does."""

    place: str  # file:line
    reason: str


@dataclass(slots=True)
class Figures:
    """What was counted in some files."""

    files: dict[str, int] = field(default_factory=dict)  # path -> lines
    functions: dict[str, int] = field(default_factory=dict)  # path:line name -> code lines
    excepts: int = 0
    broad: list[Broad] = field(default_factory=list)

    @property
    def broad_share(self) -> float:
        """Broad excepts among all."""
        return len(self.broad) / max(1, self.excepts)

    def largest_file(self) -> tuple[str, int]:
        """Path and lines."""
        return max(self.files.items(), key=lambda item: item[1])

    def over(self, lines: int) -> dict[str, int]:
        """Functions of more code lines."""
        return {name: length for name, length in self.functions.items() if length > lines}


def measure(paths: Iterable[Path], root: Path = ROOT) -> Figures:
    """The figures of the files, named as they stand below `root`."""
    figures = Figures()
    for path in paths:
        _add(figures, str(path.relative_to(root)), path.read_text())
    return figures


def sources(package: str) -> list[Path]:
    """All Python files of a package."""
    return sorted((ROOT / package).rglob("*.py"))


def loose_files(package: str) -> list[str]:
    """Python files in the root of a package."""
    return sorted(path.name for path in (ROOT / package).glob("*.py"))


def floors(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """The longest chain of modules of which each imports the next. Of a graph without cycles."""

    @functools.cache
    def chain(module: str) -> list[str]:
        below = [chain(each) for each in sorted(imports.get(module, ()))]
        return [module, *max(below, key=len, default=[])]

    return max((chain(module) for module in sorted(imports)), key=len)


def imports_within(package: str) -> dict[str, set[str]]:
    """Module -> modules of the same package that it imports, for types too."""
    graph = grimp.build_graph(package, cache_dir=None)
    return {module: set(graph.find_modules_directly_imported_by(module)) for module in graph.modules}


def percentile(values: Iterable[int], share: float) -> int:
    """The smallest value that `share` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _add(figures: Figures, name: str, text: str) -> None:
    figures.files[name] = len(text.splitlines())
    code, comments = _lines(text)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = len(code & _span(node) - _docstring(node))
            figures.functions[f"{name}:{node.lineno} {node.name}"] = length
        elif isinstance(node, ast.ExceptHandler):
            figures.excepts += 1
            if _is_broad(node):
                figures.broad.append(Broad(f"{name}:{node.lineno}", _reason(node, comments)))


def _lines(text: str) -> tuple[set[int], dict[int, str]]:
    """Numbers of the lines that hold code, and the comment of each line that has one."""
    code: set[int] = set()
    comments = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = token.string
        elif token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return code, comments


def _span(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def _docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    return set() if ast.get_docstring(node, clean=False) is None else _span(node.body[0])


def _is_broad(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _BROAD for node in ast.walk(handler.type))


def _reason(handler: ast.ExceptHandler, comments: Mapping[int, str]) -> str:
    """The first comment from the line above to the end of its first statement."""
    last = handler.body[0].end_lineno or handler.lineno
    return next((comments[line] for line in range(handler.lineno - 1, last + 1) if line in comments), "")


def _lengths(what: str, values: Sequence[int]) -> str:
    return f"{what}: median {statistics.median(values):g}, p95 {percentile(values, 0.95)}, largest {max(values)}"


def _report() -> Iterator[str]:
    for package in PACKAGES:
        loose = loose_files(package)
        chain = floors(imports_within(package))
        yield f"{package}: {len(loose)} files in its root ({', '.join(loose)})"
        yield f"{package}: {len(chain)} floors ({' > '.join(chain)})"
    figures = measure(path for package in PACKAGES for path in sources(package))
    yield f"largest file: {figures.largest_file()[0]}, {figures.largest_file()[1]} lines"
    yield _lengths(f"lines of {len(figures.files)} files", list(figures.files.values()))
    yield _lengths(f"code lines of {len(figures.functions)} functions", list(figures.functions.values()))
    long = figures.over(LONG_LINES)
    yield f"functions over {LONG_LINES} code lines: {len(long)} {sorted(long)}"
    unexplained = [broad.place for broad in figures.broad if not broad.reason]
    yield f"broad excepts: {len(figures.broad)} of {figures.excepts}, {figures.broad_share:.1%}"
    yield f"broad excepts without a reason beside them: {len(unexplained)} {unexplained}"


if __name__ == "__main__":
    print(*_report(), sep="\n")
