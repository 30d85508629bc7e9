"""The pages that benchmarks write: tables, and sections between markers that nobody edits by hand."""

import statistics


def table(head, rows):
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def spread(values, form):
    """Least, median and most."""
    return [form(value) for value in (min(values), statistics.median(values), max(values))]


def about(facts):
    """The rows of a table about the machine."""
    return [
        ["date", facts["date"]],
        ["machine", f"{facts['cores']} cores ({facts['cpu']}), {facts['memory']:.1f} GiB, {facts['kernel']}"],
    ]


def put(path, name, section):
    """Puts a section between its markers; everything else stays as it is."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    with open(path, encoding="utf-8") as file:
        text = file.read()
    if begin not in text or end not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    before, rest = text.split(begin, 1)
    after = rest.split(end, 1)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{section}{end}{after}")
