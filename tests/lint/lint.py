#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Rules of the tree that a compiler does not know.

lint.py CHECK SOURCE_ROOT [LIBRARY]

Each check prints one line per finding, FILE:LINE: what, and ends 1 if there
was one. A check that finds nothing to look at fails too.
"""
import pathlib
import re
import subprocess
import sys
import tempfile

MAX_FILE_LINES = 800
MAX_FUNCTION_LINES = 60


class Findings:
    def __init__(self, root):
        self.root = root
        self.count = 0

    def add(self, path, line, text):
        if isinstance(path, pathlib.Path):
            path = path.relative_to(self.root)
        print(f'{path}:{line}: {text}')
        self.count += 1

    def require(self, things, what):
        if not things:
            print(f'lint: no {what} found, nothing was checked')
            self.count += 1


def sources(root, folders, suffixes):
    return [path for folder in folders
            for path in sorted((root / folder).rglob('*'))
            if path.is_file() and path.suffix in suffixes]


def tracked(root):
    """Every file of the project, whether or not git is there to ask."""
    try:
        out = subprocess.run(['git', '-C', str(root), 'ls-files', '-z'],
                             capture_output=True, check=True).stdout
        names = [name for name in out.decode().split('\0') if name]
    except (OSError, subprocess.CalledProcessError):
        names = []
    if names:
        return [root / name for name in names if (root / name).is_file()]
    return [path for path in sorted(root.rglob('*')) if path.is_file() and
            not any(part.startswith(('build', '.git', '__pycache__'))
                    for part in path.relative_to(root).parts)]


def strip_comments(text):
    """Blanks comments and the insides of strings, keeps every newline."""
    def blank(match):
        token = match.group(0)
        if token.startswith('/'):
            return re.sub(r'[^\n]', ' ', token)
        return token[0] + ' ' * (len(token) - 2) + token[0]
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"'
                  r"|'(?:\\.|[^'\\\n])*'", blank, text, flags=re.S)


def line_of(text, position):
    return text.count('\n', 0, position) + 1


# --- exported symbols -----------------------------------------------------

EXPORT = re.compile(r'^VMLOAD_EXPORT\b[^;{]*?\b(vmload_\w+)\s*\(', re.M)


def header_symbols(root):
    names = {}
    for path in sources(root, ['include/vmload'], {'.h', '.in'}):
        text = strip_comments(path.read_text())
        for match in EXPORT.finditer(text):
            names[match.group(1)] = (path, line_of(text, match.start()))
    return names


def map_symbols(path):
    text = re.sub(r'/\*.*?\*/|#[^\n]*', '', path.read_text(), flags=re.S)
    names = set()
    for node in re.finditer(r'VMLOAD_[\d.]+\s*\{(.*?)\}', text, re.S):
        body = node.group(1).split('local:')[0]
        names.update(re.findall(r'\b(vmload_\w+)\s*;', body))
    return names


def library_symbols(library):
    out = subprocess.run(['nm', '-D', '--defined-only', library],
                         capture_output=True, check=True, text=True).stdout
    names = set()
    strangers = set()
    for line in out.splitlines():
        kind, name = line.split()[-2:]
        if kind == 'A':
            continue  # the version node itself
        name = name.split('@')[0]
        (names if name.startswith('vmload_') else strangers).add(name)
    return names, strangers


def check_symbols(root, findings, library):
    headers = header_symbols(root)
    version_map = root / 'lib' / 'vmload.map'
    mapped = map_symbols(version_map)
    exported, strangers = library_symbols(library)
    findings.require(headers, 'VMLOAD_EXPORT in the headers')
    for name in sorted(set(headers) - mapped):
        findings.add(*headers[name], f'{name} is missing in lib/vmload.map')
    for name in sorted(mapped - set(headers)):
        findings.add(version_map, 1, f'{name} is in no public header')
    for name in sorted(mapped - exported):
        findings.add(version_map, 1, f'{name} is not defined by the library')
    for name in sorted(exported - mapped):
        findings.add(library, 1, f'{name} is exported but not in the map')
    # A sanitizer's or profiler's run-time exports names of its own.
    for name in sorted(strangers):
        if not re.match(r'_|asan|tsan|ubsan|llvm|gcov|mangle', name):
            findings.add(library, 1, f'{name} is exported')


# --- calls that a library for hostile input does not make ------------------

FORBIDDEN = [
    (r'(?:g_)?abort|_?exit|_Exit|quick_exit|raise|kill', 'ends the host'),
    (r'v?f?printf|puts|putchar|fputs|fputc|putc|fopen|fdopen|fread|fwrite|'
     r'fclose|fflush|perror|scanf|fscanf|getline|g_print|g_printerr',
     'is stdio'),
    (r'assert|g_assert\w*|g_error|g_critical|g_warning|g_message|'
     r'g_return_if_reached|g_return_val_if_reached|g_warn_if_\w+|g_log\w*',
     'can end the host, or prints'),
    (r'strcpy|strcat|v?sprintf|gets|alloca|g_alloca|g_newa\w*|strtok|strncpy',
     'is not bounded'),
    (r'malloc|calloc|realloc|reallocarray|strdup|strndup|posix_memalign|'
     r'aligned_alloc|memalign|valloc', "is not GLib's"),
    (r'g_malloc\w*|g_realloc\w*|g_memdup2?|g_strndup|g_slice\w*|g_new0?|'
     r'g_renew', 'ends the host if there is no memory'),
    (r'signal|sigaction|sigprocmask|pthread_sigmask|fork|vfork|system|popen|'
     r'posix_spawn\w*|exec[lv]\w*|setenv|putenv|unsetenv|setlocale|chdir|'
     r'umask|g_spawn\w*', 'changes the whole process'),
]

# One object of a fixed size: no stream decides how much that is.
FIXED_NEW = r'\bg_new0?\((?:struct )?\w+, 1\)'


def read_allow_list(root):
    """tests/lint/allow: FILE, REGULAR EXPRESSION, REASON, a line each."""
    rules = []
    path = root / 'tests' / 'lint' / 'allow'
    for line in path.read_text().splitlines():
        if line and not line.startswith('#'):
            where, pattern, _reason = re.split(r'\s{2,}', line, maxsplit=2)
            rules.append((where, pattern))
    return rules


def check_calls(root, findings):
    files = sources(root, ['lib'], {'.c', '.h'})
    findings.require(files, 'file in lib/')
    allow = read_allow_list(root)
    used = set()
    rules = [(re.compile(r'(?<![\w.>])(' + names + r')\s*\('), why)
             for names, why in FORBIDDEN]
    for path in files:
        name = str(path.relative_to(root))
        text = strip_comments(path.read_text())
        for number, line in enumerate(text.splitlines(), 1):
            line = re.sub(FIXED_NEW, '', line)
            for rule in allow:
                if name == rule[0] and re.search(rule[1], line):
                    line = re.sub(rule[1], '', line)
                    used.add(rule)
            for pattern, why in rules:
                for match in pattern.finditer(line):
                    findings.add(path, number, f'{match.group(1)}() {why}')
        for match in re.finditer(r'#\s*include\s*<stdio\.h>', text):
            findings.add(path, line_of(text, match.start()),
                         'stdio.h in the library')
    for rule in allow:
        if rule not in used:
            findings.add('tests/lint/allow', 1,
                         f'nothing needs this any more: {rule[0]} {rule[1]}')


# --- sizes ----------------------------------------------------------------

def function_sizes(lines):
    """QEMU style: a function's braces stand alone in the first column."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == '{':
            start = number
        elif line == '}' and start is not None:
            yield start, number - start + 1
            start = None


def check_sizes(root, findings):
    files = sources(root, ['lib', 'include', 'examples', 'tests'],
                    {'.c', '.h', '.in'})
    findings.require(files, 'C file')
    for path in files:
        lines = path.read_text().splitlines()
        if len(lines) > MAX_FILE_LINES:
            findings.add(path, len(lines),
                         f'{len(lines)} lines, more than {MAX_FILE_LINES}')
        for start, length in function_sizes(lines):
            if length > MAX_FUNCTION_LINES:
                findings.add(path, start, f'function of {length} lines, '
                             f'more than {MAX_FUNCTION_LINES}')


# --- the contract above each prototype ------------------------------------

PARTS = ['Return:', 'Errors:', 'States:', 'Threads:', 'Blocks:', 'Since:']

PROTOTYPE = re.compile(
    r'(/\*(?:(?!\*/).)*\*/)?\s*^VMLOAD_EXPORT\b'
    r'([^;]*?)\b(vmload_\w+)\s*\(([^;]*?)\)[^;()]*'
    r'(?:G_GNUC_\w+(?:\([^)]*\))?)?\s*;', re.S | re.M)


def file_parts(text):
    """Parts that the file comment states once for all its functions."""
    match = re.search(r'/\*\*.*?\*/', text, re.S)
    if match is None or '@file' not in match.group(0):
        return set()
    return {part for part in PARTS
            if re.search(part[:-1] + r'[^:.]{0,30}:', match.group(0))}


def check_prototype(path, where, match, common, findings):
    comment, result, name, parameters = match.groups()
    if comment is None or not comment.startswith('/**'):
        findings.add(path, where, f'{name}: no comment')
        return
    if not re.search(rf'\*\s+{name}:', comment):
        findings.add(path, where, f'{name}: the comment is for another')
    for part in PARTS:
        if part == 'Return:' and result.strip() == 'void':
            continue
        if part not in common and part not in comment:
            findings.add(path, where, f'{name}: no "{part}"')
    for parameter in parameters.split(','):
        words = re.findall(r'\w+|\.\.\.', re.sub(r'\[.*', '', parameter))
        if words and words[-1] not in ('void', '...') and \
                f'@{words[-1]}:' not in comment:
            findings.add(path, where, f'{name}: no "@{words[-1]}:"')


def check_comments(root, findings):
    seen = set()
    for path in sources(root, ['include/vmload'], {'.h', '.in'}):
        text = path.read_text()
        if '@file' not in text:
            findings.add(path, 1, 'no comment that says what the file is for')
        common = file_parts(text)
        for match in PROTOTYPE.finditer(text):
            seen.add(match.group(3))
            check_prototype(path, line_of(text, match.start(3)), match,
                            common, findings)
    symbols = header_symbols(root)
    findings.require(symbols, 'public prototype')
    for name in sorted(set(symbols) - seen):
        findings.add(*symbols[name], f'{name}: not understood')


# --- the frozen layout ----------------------------------------------------

def public_layout(root):
    """([(struct, members, place)], [(enum, enumerators, place)])."""
    structs = []
    enums = []
    for path in sources(root, ['include/vmload'], {'.h', '.in'}):
        text = re.sub(r'^\s*#(?:[^\n]*\\\n)*[^\n]*', lambda m: '\n' *
                      m[0].count('\n'), strip_comments(path.read_text()),
                      flags=re.M)
        for match in re.finditer(
                r'\b(struct|enum)\s*(\w*)\s*\{([^}]*)\}\s*(\w*)\s*;', text):
            kind, tag, body, name = match.groups()
            place = (path, line_of(text, match.start()))
            if kind == 'enum':
                names = re.findall(r'\b(VMLOAD_\w+)\s*(?:=[^,]*)?(?:,|\s*$)',
                                   body)
                enums.append((name or tag, names, place))
            else:
                body = re.sub(r'\(\s*\*\s*(\w+)\s*\)\s*\([^;]*\)', r' \1',
                              body)
                names = re.findall(r'(\w+)\s*(?:\[[^;]*\])?\s*;', body)
                structs.append((name or tag, names, place))
    return structs, enums


def check_abi(root, findings):
    frozen = re.sub(r'\s+', ' ', (root / 'tests' / 'api' /
                                  'abi.c').read_text())
    structs, enums = public_layout(root)
    findings.require(structs, 'public struct')
    findings.require(enums, 'public enum')
    for name, members, place in structs:
        if f'SIZE({name}, ' not in frozen:
            findings.add(*place, f'tests/api/abi.c has no size of {name}')
        if members[:1] != ['struct_size'] and name != 'VmloadField':
            findings.add(*place, f'{name} does not begin with struct_size')
        for member in members:
            if f'AT({name}, {member}, ' not in frozen:
                findings.add(*place, f'tests/api/abi.c has no {name}.{member}')
    for name, values, place in enums:
        for value in values:
            if f'VALUE({value}, ' not in frozen:
                findings.add(*place, f'tests/api/abi.c has no {value}')
    folder = root / 'include' / 'vmload'
    installed = (folder / 'meson.build').read_text()
    for path in sorted(folder.glob('*.h')):
        if f"'{path.name}'" not in installed:
            findings.add(path, 1, 'is not among the installed headers')


# --- the tree -------------------------------------------------------------

MACHINE_PATH = re.compile(
    r'(?<![\w.$}-])/(?:home|root|work|Users|tmp/w)/[\w.-]+')
NEEDS_LICENCE = {'.c', '.h', '.in', '.py', '.S', '.sh'}
CODE = {'.c', '.h', '.in', '.py', '.build', '.S'}


def check_text(path, text, findings):
    for number, line in enumerate(text.splitlines(), 1):
        if line != line.rstrip():
            findings.add(path, number, 'space at the end of the line')
        if '\t' in line and path.suffix in CODE:
            findings.add(path, number, 'tab')
        if len(line) > 80 and path.suffix in {'.c', '.h'}:
            findings.add(path, number, f'{len(line)} columns')
    if text and not text.endswith('\n'):
        findings.add(path, text.count('\n') + 1, 'no newline at the end')


def check_tree(root, findings):
    files = tracked(root)
    findings.require(files, 'file')
    for path in files:
        data = path.read_bytes()
        if b'\0' in data or 'corpus' in path.parts:
            continue
        text = data.decode(errors='replace')
        if (path.suffix in NEEDS_LICENCE or text.startswith('#!')) and \
                'SPDX-License-Identifier: BSD-3-Clause' not in text[:400]:
            findings.add(path, 1, 'no SPDX-License-Identifier line')
        for match in MACHINE_PATH.finditer(text):
            findings.add(path, line_of(text, match.start()),
                         f'path of one machine: {match.group(0)}')
        if path.suffix in CODE | {'.md'}:
            check_text(path, text, findings)


# --- links ----------------------------------------------------------------

def anchors(text):
    """The anchors that forges make of a page's headings."""
    names = set()
    for heading in re.findall(r'^#+\s+(.*)$', text, re.M):
        name = re.sub(r'[^\w\- ]', '', heading.replace('`', '')).lower()
        names.add(name.strip().replace(' ', '-'))
    return names


def check_links(root, findings):
    count = 0
    for path in tracked(root):
        if path.suffix != '.md':
            continue
        text = re.sub(r'^```.*?^```', lambda m: '\n' * m[0].count('\n'),
                      path.read_text(), flags=re.S | re.M)
        for match in re.finditer(r'\[[^\]]*\]\(([^)\s]+)\)', text):
            target = match.group(1)
            where = line_of(text, match.start())
            count += 1
            if re.match(r'[a-z]+:', target):
                continue
            name, _, anchor = target.partition('#')
            page = (path.parent / name).resolve() if name else path
            if not page.exists():
                findings.add(path, where, f'link to nowhere: {target}')
            elif anchor and page.suffix == '.md' and \
                    anchor not in anchors(page.read_text()):
                findings.add(path, where, f'no such heading: {target}')
    findings.require(count, 'link')
    index = (root / 'docs' / 'README.md').read_text()
    for path in sorted((root / 'docs').glob('*.md')):
        if path.name != 'README.md' and f'({path.name})' not in index:
            findings.add(path, 1, 'not in the index, docs/README.md')


# --- citations of the wire format -----------------------------------------

CITATION = re.compile(
    r'(stream|RAM|vmstate|channel|RDMA)[\s*]+format,[\s*]+sections?[\s*]+'
    r'([\d.]*\d)(?:(?:[\s*]+and[\s*]+|,[\s*]+)([\d.]*\d))?', re.I)


def format_sections(root):
    """(chapter, number) of every heading in docs/format.md."""
    found = set()
    chapter = None
    for marks, text in re.findall(r'^(##+) (.*)$', (root / 'docs' /
                                  'format.md').read_text(), re.M):
        if marks == '##':
            chapter = text.split()[0].lower()
        else:
            found.add((chapter, text.split()[0]))
    return found


def check_citations(root, findings):
    known = format_sections(root)
    count = 0
    for path in sources(root, ['lib', 'include', 'examples', 'tests'],
                        {'.c', '.h', '.in', '.py'}):
        text = path.read_text()
        for match in CITATION.finditer(text):
            for number in match.groups()[1:]:
                count += 1
                if number and (match.group(1).lower(), number) not in known:
                    findings.add(path, line_of(text, match.start()),
                                 f'docs/format.md has no {match.group(1)} '
                                 f'format, section {number}')
    findings.require(count, 'citation of the format')


# --- the table of waits ---------------------------------------------------

WAIT = re.compile(r'\b(?:p?poll|vmload_poll|epoll_p?wait|p?select|g_cond_wait'
                  r'(?:_until)?|g_thread_join|g_usleep|nanosleep|'
                  r'ops\.wait)\s*\(')


def check_waits(root, findings):
    """docs/threading.md has every file of lib/ that waits, and no other."""
    page = root / 'docs' / 'threading.md'
    named = set()
    for row in re.findall(r'^\| (`lib/.*?) \|', page.read_text(), re.M):
        named.update(re.findall(r'`(lib/[\w/.-]+\.c)`', row))
    waiting = {}
    for path in sources(root, ['lib'], {'.c'}):
        text = strip_comments(path.read_text())
        match = WAIT.search(text)
        if match:
            waiting[str(path.relative_to(root))] = (path, line_of(
                text, match.start()))
    findings.require(waiting, 'wait')
    for name in sorted(set(waiting) - named):
        findings.add(*waiting[name], 'waits, and docs/threading.md has no row')
    for name in sorted(named - set(waiting)):
        findings.add(page, 1, f'a row for {name}, which does not wait')


# --- a unit test for each file --------------------------------------------

def read_units_table(root):
    """tests/lint/units: FILE, TESTS, WHY, a line each."""
    rows = []
    text = (root / 'tests' / 'lint' / 'units').read_text()
    for number, line in enumerate(text.splitlines(), 1):
        if line and not line.startswith('#'):
            name, tests, _why = re.split(r'\s{2,}', line, maxsplit=2)
            rows.append((number, name, tests.split()))
    return rows


def check_units(root, findings):
    """Each lib/DIR/NAME.c has tests/unit/test-[DIR-]NAME.c, or a reason."""
    files = sources(root, ['lib'], {'.c'})
    findings.require(files, 'file in lib/')
    folder = root / 'tests' / 'unit'
    built = (folder / 'meson.build').read_text()
    missing = {}
    for path in files:
        names = [f'{path.parent.name}-{path.stem}', path.stem]
        if not any((folder / f'test-{name}.c').exists() for name in names):
            missing[str(path.relative_to(root))] = path
    for number, name, tests in read_units_table(root):
        if missing.pop(name, None) is None:
            findings.add('tests/lint/units', number,
                         f'{name} needs no exception')
        for test in tests:
            if not (root / 'tests' / test).exists():
                findings.add('tests/lint/units', number, f'no tests/{test}')
    for name in sorted(missing):
        findings.add(missing[name], 1, 'no unit test has its name')
    for path in sorted(folder.glob('test-*.c')):
        if f"'{path.stem.removeprefix('test-')}'" not in built:
            findings.add(path, 1, 'not in tests/unit/meson.build')


# --- the table of errors --------------------------------------------------

def check_errors(root, findings):
    """docs/errors.md has the rows of tests/fault/bad-input-table.h, and the
    tests that its other rows name have the code and the text."""
    table = root / 'tests' / 'fault' / 'bad-input-table.h'
    page = root / 'docs' / 'errors.md'
    tested = re.findall(r'ROW\("([^"]+)",\s+\w+,\s+(\w+),\s+"([^"]*)"',
                        table.read_text())
    written = re.findall(r'^\| ([^|]+) \| ([A-Z]+) \| `([^`]*)` \|$',
                         page.read_text(), re.M)
    findings.require(tested, 'row of the table of errors')
    for row in tested:
        if row not in written:
            findings.add(page, 1, f'no row for the test {row}')
    for row in written:
        if row not in tested:
            findings.add(page, 1, f'no test for the row {row}')
    check_named_tests(root, page, findings)


def check_named_tests(root, page, findings):
    rows = list(re.finditer(
        r'^\| ([^|]+) \| ([A-Z]+) \| `([^`]+)` \| `([^`]+)`: `(\w+)` \|$',
        page.read_text(), re.M))
    findings.require(rows, 'row of errors with its test')
    for row in rows:
        what, code, evidence, name, function = row.groups()
        path = root / 'tests' / 'unit' / name
        text = path.read_text() if path.is_file() else ''
        for wanted in (f'cmocka_unit_test({function})', evidence,
                       f'VMLOAD_ERROR_{code}'):
            if wanted not in text:
                findings.add(page, line_of(page.read_text(), row.start()),
                             f'{what}: {name} has no {wanted}')


# --- limits ---------------------------------------------------------------

def check_limits(root, findings):
    """Every limit is in the program's help and in its man page."""
    names = re.findall(r'^    LIMIT\((\w+),',
                       (root / 'lib' / 'limits.c').read_text(), re.M)
    findings.require(names, 'limit')
    for path in (root / 'examples' / 'vmload' / 'options.c',
                 root / 'docs' / 'man' / 'vmload.1'):
        text = path.read_text()
        for name in names:
            if not re.search(rf'(?<![\w-]){name.replace("_", "-")}(?![\w-])',
                             text):
                findings.add(path, 1, f'no limit {name.replace("_", "-")}')


# --- the fuzz targets' seeds ----------------------------------------------

def seeds_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.glob('*/*') if path.is_file()}


def check_corpora(root, findings):
    """tests/fuzz/corpus/make-* write every seed but those in `found`."""
    corpus = root / 'tests' / 'fuzz' / 'corpus'
    kept = seeds_below(corpus)
    findings.require(kept, 'seed')
    with tempfile.TemporaryDirectory() as folder:
        for script in sorted(corpus.glob('make-*')):
            subprocess.run([sys.executable, str(script), folder], check=True)
        made = seeds_below(pathlib.Path(folder))
    for number, line in enumerate(
            (corpus / 'found').read_text().splitlines(), 1):
        name = line.split('  ')[0]
        if line.startswith('#'):
            continue
        if name in made or name not in kept:
            findings.add(corpus / 'found', number, 'made, or not there')
        kept.pop(name, None)
    for name in sorted(kept.keys() | made.keys()):
        if kept.get(name) != made.get(name):
            findings.add(corpus / name, 1, 'is not what make-* write')


def main():
    checks = {'symbols': check_symbols, 'abi': check_abi, 'calls': check_calls,
              'sizes': check_sizes, 'comments': check_comments,
              'citations': check_citations, 'errors': check_errors,
              'tree': check_tree, 'corpora': check_corpora,
              'limits': check_limits,
              'links': check_links, 'units': check_units,
              'waits': check_waits}
    if len(sys.argv) < 3 or sys.argv[1] not in checks:
        print(__doc__, 'Checks:', ' '.join(checks), file=sys.stderr)
        return 2
    root = pathlib.Path(sys.argv[2]).resolve()
    findings = Findings(root)
    checks[sys.argv[1]](root, findings, *sys.argv[3:])
    return 1 if findings.count else 0


if __name__ == '__main__':
    sys.exit(main())
