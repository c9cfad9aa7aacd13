"""Inputs that somebody who means harm, or an unlucky program, would write: a name says what each one is."""

import gzip
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from typing import Any

from fuzz.downloads import CONTENT, response
from fuzz.mutate import LARGEST
from fuzz.readers import READERS

MANY = LARGEST - 100
BOM = b"\xef\xbb\xbf"


def inputs(name: str) -> dict[str, bytes]:
    """For the reader of this name."""
    seed = READERS[name].seeds[0]
    return {**_for_any_reader(seed), **_FOR_FORMATS.get(name, {})}


def _for_any_reader(seed: bytes) -> dict[str, bytes]:
    half = len(seed) // 2
    return {
        "empty": b"",
        "byte order mark": BOM,
        "byte order mark first": BOM + seed,
        "two byte order marks": BOM + BOM + seed,
        "cut": seed[:half],
        "last byte missing": seed[:-1],
        "twice": (seed + seed)[:LARGEST],
        "zero bytes": b"\0" * MANY,
        "zero bytes at the end": seed + b"\0" * 8,
        "line feeds": b"\n" * MANY,
        "carriage returns": b"\r" * MANY,
        "spaces": b" " * MANY,
        "tabs": b"\t" * MANY,
        "one long word": b"a" * MANY,
        "0xff": b"\xff" * MANY,
        "old Macintosh": seed.replace(b"\n", b"\r"),
        "Windows": seed.replace(b"\n", b"\r\n")[:LARGEST],
        "UTF-16": "a b c\n".encode("utf-16") * 100,
        "half of a surrogate pair in UTF-8": b"\xed\xa0\x80" + seed,
        "a number of many digits": b"7" * MANY,
        "deep lists": b"[" * MANY,
        "deep objects": b'{"a":' * (MANY // 5),
        "deep tables": b"[" + b"a." * (MANY // 2) + b"a]",
        "NaN": b"NaN",
        "infinity": b"-Infinity",
        "null": b"null",
        "an empty object": b"{}",
        "an empty list": b"[]",
        "a text": b'"a"',
        "a list of lists": b"[" + b"[]," * (MANY // 3 - 1) + b"[]]",
        "a key twice": b'{"a": 1, "b": 2, "a": 3}',
        "half of a surrogate pair": b'{"\\ud83d": "\\udc00"}',
        "many keys": json.dumps({str(number): number for number in range(4000)}).encode(),
        "gzip": gzip.compress(seed, mtime=0),
        "gzip of zeros": gzip.compress(b"\0" * 60_000_000, mtime=0)[:LARGEST],
        "zip": _zipped({"text.txt": seed}),
        "pickle": pickle.dumps(seed),
    }


def _zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", method) as file:
        for name, content in files.items():
            file.writestr(zipfile.ZipInfo(name), content, method)
    return archive.getvalue()


def _tensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    written = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(written) if length is None else length) + written + body


def _tensor(shape: list[int], start: int, stop: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


TENSORS = {
    "a header beyond the file": _tensors({}, length=1 << 62),
    "a header of nearly all": _tensors({}, b"\0" * 64, length=64),
    "overlapping tensors": _tensors({"a": _tensor([4], 0, 16), "b": _tensor([4], 8, 24)}, b"\0" * 24),
    "a gap between tensors": _tensors({"a": _tensor([2], 0, 8), "b": _tensor([2], 16, 24)}, b"\0" * 24),
    "a huge tensor of nothing": _tensors({"embedding.weight": _tensor([1 << 40, 0, 1 << 40], 0, 0)}),
    "offsets that overflow": _tensors({"embedding.weight": _tensor([4], (1 << 64) - 16, 0)}),
    "a shape that overflows": _tensors({"embedding.weight": _tensor([1 << 32, 1 << 32], 0, 0)}),
    "a shape below zero": _tensors({"embedding.weight": _tensor([-1, -4], 0, 16)}, b"\0" * 16),
    "many dimensions": _tensors({"embedding.weight": _tensor([1] * 20_000, 0, 4)}, b"\0" * 4),
    "eight-bit floats": _tensors({"embedding.weight": _tensor([4], 0, 4, "F8_E4M3")}, b"\0" * 4),
    "truth values": _tensors({"embedding.weight": _tensor([4], 0, 4, "BOOL")}, b"\2" * 4),
    "spaces after the header": _tensors(b"{}" + b" " * MANY),
    "metadata that is no text": _tensors({"__metadata__": {"format": 1}}),
    "many tensors": _tensors({str(number): _tensor([0], 0, 0) for number in range(900)}),
}
GZIPPED = {
    "several members": gzip.compress(b"the cat\n", mtime=0) + gzip.compress(b"the dog\n", mtime=0),
    "rubbish after the end": gzip.compress(b"the cat\n" * 9, mtime=0) + b"rubbish",
    "a false checksum": gzip.compress(b"the cat\n" * 9, mtime=0)[:-8] + b"\0" * 8,
    "gzip of gzip": gzip.compress(gzip.compress(b"the cat\n" * 9, mtime=0), mtime=0),
    "one line of many bytes": gzip.compress(b"a" * 40_000_000, mtime=0)[:LARGEST],
    "line feeds only": gzip.compress(b"\n" * 40_000_000, mtime=0)[:LARGEST],
}
ARPA = {
    "four billion unigrams": b"\\data\\\nngram 1=4000000000\n\n\\1-grams:\n-1\ta\n\\end\\\n",
    "a count of many digits": b"\\data\\\nngram 1=" + b"9" * 60_000 + b"\n\\1-grams:\n",
    "ten thousand orders": b"\\data\\\n"
    + b"".join(b"ngram %d=0\n" % order for order in range(1, 4000))
    + b"\\1-grams:\n\\end\\\n",
    "no n-grams": b"\\data\\\nngram 1=0\n\n\\1-grams:\n\n\\end\\\n",
    "an n-gram twice": b"\\data\\\nngram 1=3\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 </s>\n\\end\\\n",
    "a probability above one": b"\\data\\\nngram 1=2\n\\1-grams:\n0.5 <s>\n-1 </s>\n\\end\\\n",
    "a weight that is infinite": b"\\data\\\nngram 1=2\n\\1-grams:\n-1 <s> inf\n-1 </s> -inf\n\\end\\\n",
    "eos itself": b"\\data\\\nngram 1=3\n\\1-grams:\n-1 <s>\n-1 </s>\n-1 <eos>\n\\end\\\n",
    "long n-grams": b"\\data\\\nngram 1=2\n"
    + b"".join(b"ngram %d=1\n" % order for order in range(2, 120))
    + b"\\1-grams:\n-1 <s>\n-1 </s>\n"
    + b"".join(b"\\%d-grams:\n-1 %s\n" % (order, b"</s> " * order) for order in range(2, 120))
    + b"\\end\\\n",
}


def _lattice(nodes: int, arcs: list[tuple[int, int]], head: str = "") -> bytes:
    lines = [head, f"N={nodes} L={len(arcs)}", *(f"I={node}" for node in range(nodes))]
    lines += [f"J={number} S={start} E={end} W=w{number}" for number, (start, end) in enumerate(arcs)]
    return "".join(f"{line}\n" for line in lines if line).encode()


LATTICES = {
    "a long cycle": _lattice(1500, [(node, (node + 1) % 1500) for node in range(1500)], "start=0 end=7"),
    "a loop": _lattice(3, [(0, 1), (1, 1), (1, 2)]),
    "a long chain": _lattice(1500, [(node, node + 1) for node in range(1499)]),
    "many paths": _lattice(400, [(node, node + 1) for node in range(399) for _ in range(4)]),
    "everything joined": _lattice(60, [(start, end) for start in range(60) for end in range(start + 1, 60)]),
    "a line without a field": b"x" * 60_000,
    "a quotation without an end": b'N=2 L=1\nI=0\nI=1\nJ=0 S=0 E=1 W="' + b"a\\" * 30_000,
    "backslashes": b"N=2 L=1\nI=0\nI=1\nJ=0 S=0 E=1 W=" + b"\\" * 60_001,
    "octal digits": b"N=2 L=1\nI=0\nI=1\nJ=0 S=0 E=1 W=\\303\\251\\377\\400\\9\n",
    "equals signs": b"=" * 60_000,
    "a base of one": _lattice(2, [(0, 1)], "base=1"),
    "a base without bounds": _lattice(2, [(0, 1)], "base=1e308 lmscale=1e308 wdpenalty=-1e308"),
    "more nodes than there are": b"N=4000000000 L=1\nI=0\nI=1\nJ=0 S=0 E=1\n",
    "scores that overflow": b"N=3 L=2\nI=0\nI=1\nI=2\nJ=0 S=0 E=1 W=a a=1e308\nJ=1 S=1 E=2 W=b a=1e308\n",
    "a quotient that overflows": b"N=2 L=1 acscale=1e-300 prscale=1e300\nI=0\nI=1\nJ=0 S=0 E=1 W=a a=1 r=1e9\n",
    "a lattice inside": b"N=2 L=1\nI=0 L=other\nI=1\nJ=0 S=0 E=1\n",
    "a link to nowhere": b"N=2 L=1\nI=0\nI=1\nJ=0 S=0 E=9\n",
}
LISTS = {
    "an id without words": b"call-1\ncall-2\n" * 2000,
    "a number without bounds": b"call-" + b"9" * 60_000 + b" the\n",
    "hyphens": b"-" * 60_000 + b"1 the\n",
    "no-break spaces": b"call-1 the\xc2\xa0cat\xe2\x80\xa8sat\n",
    "a line of one utterance after another": b"".join(b"a the\nb the\n" for _ in range(3000)),
}
JSON_LISTS = {
    "half of a surrogate pair in a word": b'{"utterance": "u", "text": "\\ud83d the"}\n',
    "a score without bounds": b'{"utterance": "u", "text": "the", "acoustic": 1e400}\n',
    "a score of many digits": b'{"utterance": "u", "text": "the", "acoustic": ' + b"7" * 60_000 + b"}\n",
    "line feeds in words": b'{"utterance": "u\\n", "words": ["the\\ncat", ""]}\n',
    "a deep line": b"[" * 60_000 + b"\n",
}
REFERENCES = {
    "one word many times": b"u " + b"a " * 30_000,
    "two words by turns": b"u " + b"a b " * 15_000,
    "no word twice": b"u " + " ".join(map(str, range(10_000))).encode(),
}


def _params(arrays: bytes, count: int, names: bytes = struct.pack("<Q", 0)) -> bytes:
    return struct.pack("<3Q", 0x112, 0, count) + arrays + names


def _array(dimensions: list[int], version: int = 0xF993FAC9) -> bytes:
    head = struct.pack("<Iii", version, 0, len(dimensions))
    return head + struct.pack(f"<{len(dimensions)}q", *dimensions) + struct.pack("<3i", 1, 0, 0)


PARAMS = {
    "many arrays": _params(b"", 1 << 62),
    "a huge array": _params(_array([1 << 40]), 1),
    "a product that overflows": _params(_array([1 << 32, 1 << 32]), 1),
    "a huge array of nothing": _params(_array([0, 1 << 39]), 1),
    "dimensions below zero": _params(_array([-4, -4]), 1),
    "many dimensions": _params(struct.pack("<Iii", 0xF993FAC9, 0, 1 << 30), 1),
    "a name without bounds": _params(_array([0]), 1, struct.pack("<QQ", 1, 1 << 62)),
    "ten thousand arrays": _params(struct.pack("<Iii", 0xF993FAC9, 0, 0) * 5000, 5000),
}


def _symbol(nodes: list[dict[str, Any]], heads: Any = None) -> bytes:
    return json.dumps({"nodes": nodes, "heads": heads or [[len(nodes) - 1, 0, 0]]}).encode()


SYMBOLS = {
    "a node that reads itself": _symbol([{"op": "null", "name": "a", "inputs": [[0, 0, 0]]}]),
    "a long chain": _symbol(
        [{"op": "null", "name": "data", "inputs": []}]
        + [{"op": "Dropout", "name": "d", "inputs": [[number, 0, 0]]} for number in range(1000)]
    ),
    "sums of sums": _symbol(
        [{"op": "null", "name": "data", "inputs": []}]
        + [{"op": "elemwise_add", "name": "s", "inputs": [[number] * 2, [number] * 2]} for number in range(860)]
    ),
    "heads far away": _symbol([{"op": "null", "name": "a", "inputs": []}], [[10**30, 0, 0]]),
    "a size without bounds": _symbol(
        [
            {"op": "null", "name": "data", "inputs": []},
            {"op": "null", "name": "w", "inputs": []},
            {
                "op": "Embedding",
                "name": "e",
                "inputs": [[0, 0], [1, 0]],
                "attrs": {"input_dim": "9" * 5000, "output_dim": "4"},
            },
        ]
    ),
}


def _tokenizer(**changes: Any) -> bytes:
    return json.dumps(json.loads(READERS["tokenizer"].seeds[0]) | changes).encode()


def _tokenizers() -> dict[str, bytes]:
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    return {
        "a pattern without end": _tokenizer(pre_tokenizer=split),
        "a map that the library panics on": _tokenizer(
            normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA"}
        ),
        "a fill of gigabytes": _tokenizer(
            padding={
                "strategy": {"Fixed": 1_000_000_000},
                "direction": "Right",
                "pad_to_multiple_of": None,
                "pad_id": 0,
                "pad_type_id": 0,
                "pad_token": "x",
            }
        ),
        "a token of nothing": _tokenizer(
            added_tokens=[
                {
                    "id": 0,
                    "content": "",
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
            ]
        ),
        "another model": _tokenizer(model={"type": "Unigram", "unk_id": 5, "vocab": [["a", -1.0]]}),
        "no pieces": _tokenizer(model={"type": "BPE", "vocab": {}, "merges": []}),
    }


RECIPES = {
    "arrays in arrays": b"a = " + b"[" * 30_000 + b"]" * 30_000,
    "a long key": b"a." * 30_000 + b"a = 1",
    "inline tables": b"a = " + b"{a=" * 20_000,
    "many tables": b"".join(b"[a%d]\n" % number for number in range(6000)),
    "tables of tables": b"".join(b"[[a.b]]\n" for _ in range(6000)),
    "a text without an end": b'a = """' + b"x" * 60_000,
    "a million epochs": b"[training]\nepochs = 1000000000000\n",
    "a million layers": b"[model]\nhidden_sizes = [" + b"1," * 30_000 + b"1]\n",
    "hexadecimal": b"seed = 0x" + b"f" * 60_000,
    "no date": b"a = 0000-00-00",
}
CONFIGS = {
    "a recipe of another kind": b'{"recipe": [], "corpus": {"source": "x"}}',
    "a corpus that is a text": b'{"recipe": {}, "corpus": "x"}',
    "nothing but a huge model": json.dumps(
        {"recipe": {"model": {"hidden_sizes": [20_000, 20_000]}}, "corpus": {"source": "x"}}
    ).encode(),
    "many layers": json.dumps(
        {"recipe": {"model": {"hidden_sizes": [1] * 10_000}}, "corpus": {"source": "x"}}
    ).encode(),
}
MANIFESTS = {
    "a path upwards": b'{"sha256": {"../../config.json": "00"}}',
    "digests of every type": b'{"sha256": {"config.json": [], "vocabulary.json": null, "model.safetensors": 1}}',
    "many digests": json.dumps({"sha256": {"config.json": ["0" * 64] * 900}}).encode(),
}
RESPONSES = {
    "no end of the head": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 8000,
    "one long line": b"HTTP/1.1 200 " + b"x" * 60_000,
    "more than was said": response(CONTENT + b"x", f"Content-Length: {len(CONTENT)}"),
    "less than was said": response(CONTENT[:-1], f"Content-Length: {len(CONTENT)}"),
    "a length below zero": response(CONTENT, "Content-Length: -5"),
    "a length without bounds": response(CONTENT, f"Content-Length: {'9' * 5000}"),
    "chunks without end": response(b"1\r\na\r\n" * 9000, "Transfer-Encoding: chunked"),
    "a chunk without bounds": response(b"f" * 5000 + b"\r\n", "Transfer-Encoding: chunked"),
    "a redirection to itself": response(b"", "Location: /file", status="HTTP/1.1 302 Found"),
    "a redirection to a file": response(b"", "Location: file:///etc/passwd", status="HTTP/1.1 302 Found"),
    "a redirection elsewhere": response(b"", "Location: http://example.invalid/", status="HTTP/1.1 302 Found"),
    "goes on and on": b"HTTP/1.1 100 Continue\r\n\r\n" * 2500,
}
ARCHIVES = {
    "a zip of zeros": _zipped({"folder/text.txt": b"\0" * 50_000_000})[:LARGEST],
    "another name": _zipped({"../text.txt": CONTENT}),
    "bzip2": _zipped({"folder/text.txt": CONTENT}, zipfile.ZIP_BZIP2),
    "LZMA": _zipped({"folder/text.txt": CONTENT}, zipfile.ZIP_LZMA),
    "tar": tarfile.TarInfo("folder/text.txt").tobuf(),
}

_FOR_FORMATS: dict[str, dict[str, bytes]] = {
    **dict.fromkeys(("weights", "optimizer", "carried-state", "state"), TENSORS),
    **dict.fromkeys(("text-gz", "lattice-gz"), GZIPPED),
    "arpa": ARPA,
    "arpa-gz": GZIPPED | {name: gzip.compress(content, mtime=0) for name, content in ARPA.items()},
    "lattice": LATTICES,
    **dict.fromkeys(("kaldi", "kaldi-costs", "mikolov"), LISTS),
    "jsonl": JSON_LISTS,
    "references": REFERENCES | LISTS,
    "mxnet-params": PARAMS,
    "mxnet-symbol": SYMBOLS,
    "tokenizer": _tokenizers(),
    "recipe": RECIPES,
    "set": RECIPES,
    "config": CONFIGS,
    "manifest": MANIFESTS,
    "download": RESPONSES,
    "download-zip": ARCHIVES,
}
