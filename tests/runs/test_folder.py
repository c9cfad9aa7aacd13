import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from recurlm.config import ModelOptions, Recipe
from recurlm.errors import CorruptFileError, InputError, UsageError
from recurlm.files import partial, write_whole
from recurlm.files.partial import sync_folder
from recurlm.models.language_model import LanguageModel
from recurlm.plots.figure import save
from recurlm.runs import folder as folder_module
from recurlm.runs.folder import CONFIG_FILE, MODEL_FILE, RunFolder
from recurlm.runs.manifest import MANIFEST_FILE, digest
from recurlm.tensor_files import tensor_bytes, tensors
from recurlm.text.codec import TOKENIZER_FILE, VOCABULARY_FILE, Codec
from recurlm.text.tokenization import BytePairs, Words
from recurlm.text.vocabulary import Vocabulary
from recurlm.training.journal import Journal

CODEC = Codec(Words(), Vocabulary(("<eos>", "<unk>", "a", "é")))
RECIPE = Recipe(model=ModelOptions(embedding_size=3, hidden_sizes=(4,)))


def made_model(vocabulary_size: int = 4, seed: int = 0) -> LanguageModel:
    torch.manual_seed(seed)
    model = LanguageModel(RECIPE.model, vocabulary_size)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.fixture
def run(tmp_path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.create({"recipe": RECIPE.model_dump(mode="json")}, CODEC)
    folder.save_model(tensor_bytes(made_model().weights()))
    return folder


def names(folder) -> set[str]:
    return {path.name for path in folder.iterdir()}


class TestWriteWhole:
    def test_a_file_is_replaced(self, tmp_path):
        path = tmp_path / "file"
        write_whole(path, b"old")
        write_whole(path, b"new")
        assert path.read_bytes() == b"new"
        assert names(tmp_path) == {"file"}

    def test_a_link_stays_and_what_it_leads_to_is_replaced(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path / "file")
        write_whole(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "file").read_bytes() == b"new"
        assert names(tmp_path) == {"file", "link"}

    @pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
    def test_a_pipe_is_written_and_stays(self, tmp_path):
        os.mkfifo(tmp_path / "pipe")
        with ThreadPoolExecutor() as pool:
            read = pool.submit((tmp_path / "pipe").read_bytes)
            write_whole(tmp_path / "pipe", b"content")
            assert read.result(timeout=60) == b"content"
        assert (tmp_path / "pipe").is_fifo()

    @pytest.mark.parametrize("function", ["fsync", "replace"])
    def test_the_old_file_stays_when_the_disk_is_full(self, tmp_path, monkeypatch, function):
        path = tmp_path / "file"
        write_whole(path, b"old")

        def fail(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(partial.os, function, fail)
        with pytest.raises(OSError, match="No space left"):
            write_whole(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == {"file"}

    def test_the_old_file_stays_when_writing_is_interrupted(self, tmp_path, monkeypatch):
        path = tmp_path / "file"
        write_whole(path, b"old")

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(partial.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, b"new")
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == {"file"}

    def test_the_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(self, tmp_path, monkeypatch):
        events = []
        fsync, replace = os.fsync, os.replace

        def recorded_fsync(descriptor):
            events.append("folder" if os.path.isdir(f"/proc/self/fd/{descriptor}") else "file")
            fsync(descriptor)

        def recorded_replace(source, target):
            events.append("rename")
            assert os.path.dirname(source) == os.path.dirname(target)
            replace(source, target)

        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("needs /proc to tell files from folders")
        monkeypatch.setattr(partial.os, "fsync", recorded_fsync)
        monkeypatch.setattr(partial.os, "replace", recorded_replace)
        write_whole(tmp_path / "file", b"content")
        assert events == ["file", "rename", "folder"]

    def test_a_folder_can_be_synced(self, tmp_path):
        sync_folder(tmp_path)


class TestRunFolder:
    def test_what_was_written_is_read_back(self, run):
        assert run.holds_run()
        assert run.recipe() == RECIPE
        assert run.codec().vocabulary == CODEC.vocabulary
        model = run.load_model(run.codec())
        assert not model.training
        for name, tensor in made_model().weights().items():
            assert torch.equal(model.weights()[name], tensor)

    def test_the_manifest_has_the_digest_of_every_file(self, run):
        entries = json.loads((run.path / MANIFEST_FILE).read_text())["sha256"]
        assert set(entries) == {CONFIG_FILE, VOCABULARY_FILE, MODEL_FILE}
        assert all(digest((run.path / name).read_bytes()) == value for name, value in entries.items())

    @pytest.mark.parametrize("name", [CONFIG_FILE, VOCABULARY_FILE, MODEL_FILE])
    @pytest.mark.parametrize("damage", ["flipped bit", "truncated", "emptied", "longer"])
    def test_an_altered_file_is_named(self, run, name, damage):
        path = run.path / name
        content = bytearray(path.read_bytes())
        if damage == "flipped bit":
            content[len(content) // 2] ^= 1
        path.write_bytes(
            {"truncated": content[:-1], "emptied": b"", "longer": content + b"\n"}.get(damage, bytes(content))
        )
        with pytest.raises(CorruptFileError, match=rf"{name}: altered or truncated"):
            read_everything(run)

    def test_a_reader_in_the_middle_of_a_replacement_sees_a_whole_model(self, run, monkeypatch):
        before, after = run.read(MODEL_FILE), tensor_bytes(made_model(seed=9).weights())
        seen = []
        replace = os.replace

        def replace_between_readers(source, target):
            seen.append(run.read(MODEL_FILE))
            replace(source, target)
            seen.append(run.read(MODEL_FILE))

        monkeypatch.setattr(partial.os, "replace", replace_between_readers)
        run.save_model(after)
        monkeypatch.undo()
        # before and after the announcement, the file, the manifest
        assert seen == [before, before, before, after, after, after]
        entries = json.loads((run.path / MANIFEST_FILE).read_text())["sha256"]
        assert entries[MODEL_FILE] == digest(after)

    def test_a_folder_is_claimed_once(self, run):
        with run.claimed(), pytest.raises(InputError, match="another process is writing a run in it"), run.claimed():
            pass
        with run.claimed():
            pass

    def test_a_run_that_is_written_at_once_never_takes_the_place_of_another(self, run, tmp_path):
        config, model = run.config(), run.read(MODEL_FILE)
        other = RunFolder(tmp_path / "other")
        with other.claimed(), pytest.raises(InputError, match="another process is writing a run in it"):
            other.create_whole(config, run.codec(), model)
        assert not other.holds_run()
        other.create_whole(config, run.codec(), model)
        with pytest.raises(InputError, match="already holds a run"):
            other.create_whole(config | {"format": "another"}, run.codec(), b"")
        assert (other.config(), other.read(MODEL_FILE)) == (config, model)

    @pytest.mark.parametrize("name", [VOCABULARY_FILE, MODEL_FILE, MANIFEST_FILE])
    def test_a_missing_file_is_named(self, run, name):
        (run.path / name).unlink()
        with pytest.raises(CorruptFileError, match=rf"{name}: missing"):
            read_everything(run)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"sha256": []}', b"\xff\xfe"])
    def test_a_damaged_manifest_is_named(self, run, content):
        (run.path / MANIFEST_FILE).write_bytes(content)
        with pytest.raises(CorruptFileError, match=rf"{MANIFEST_FILE}: "):
            read_everything(run)

    def test_a_file_that_the_manifest_does_not_know_is_not_trusted(self, run):
        (run.path / "other.json").write_text("{}")
        with pytest.raises(CorruptFileError, match=r"other\.json: the manifest does not know this file"):
            run.read("other.json")

    def test_a_folder_that_is_no_run_says_so(self, tmp_path):
        with pytest.raises(InputError, match=r"not a run folder \(no config\.json\)"):
            RunFolder(tmp_path).config()
        assert not RunFolder(tmp_path).holds_run()

    def test_a_file_in_the_place_of_the_folder_is_refused(self, tmp_path):
        (tmp_path / "run").write_text("mine")
        with pytest.raises(InputError, match="is a file, not a folder"):
            RunFolder(tmp_path / "run").create({}, CODEC)
        assert (tmp_path / "run").read_text() == "mine"

    def test_a_run_without_a_model_yet_says_so(self, tmp_path):
        folder = RunFolder(tmp_path / "run")
        folder.create({"recipe": RECIPE.model_dump(mode="json")}, CODEC)
        with pytest.raises(InputError, match="has no model yet"):
            folder.load_model(CODEC)

    def test_a_vocabulary_that_does_not_fit_the_model_is_refused(self, run):
        larger = Codec(Words(), Vocabulary((*CODEC.vocabulary.tokens, "b")))
        with pytest.raises(InputError, match="the vocabulary has 5 tokens but the model 4"):
            run.load_model(larger)

    def test_weights_that_do_not_fit_the_configuration_are_refused(self, run):
        other = LanguageModel(ModelOptions(embedding_size=3, hidden_sizes=(5,)), 4)
        run.save_model(tensor_bytes(other.weights()))
        with pytest.raises(CorruptFileError, match=rf"{MODEL_FILE}: does not fit config\.json"):
            run.load_model(CODEC)

    @pytest.mark.parametrize("content", [b"", b"no tensors", b"\xff" * 64])
    def test_what_is_not_safetensors_is_refused(self, run, content):
        run.save_model(content)
        with pytest.raises(CorruptFileError, match=rf"{MODEL_FILE}: not a whole safetensors file"):
            run.load_model(CODEC)

    def test_weights_that_are_not_finite_are_refused(self, run):
        model = made_model()
        model.embedding.weight.data[1, 2] = float("nan")
        run.save_model(tensor_bytes(model.weights()))
        with pytest.raises(CorruptFileError, match=r"embedding\.weight holds numbers that are not finite"):
            run.load_model(CODEC)

    @pytest.mark.parametrize("sizes", [(20_000,), (60_000,) * 9])
    def test_a_configuration_of_a_giant_is_refused_before_anything_is_allocated(self, run, sizes, monkeypatch):
        giant = Recipe(model=ModelOptions(embedding_size=3, hidden_sizes=sizes))
        run.write({CONFIG_FILE: json.dumps({"recipe": giant.model_dump(mode="json")}).encode()})
        monkeypatch.setattr(folder_module, "LanguageModel", None)
        with pytest.raises((CorruptFileError, InputError), match=r"does not fit config\.json|would take at least"):
            run.load_model(CODEC)

    @pytest.mark.parametrize("name", [MODEL_FILE, CONFIG_FILE, VOCABULARY_FILE, MANIFEST_FILE])
    @pytest.mark.parametrize("kind", ["a pipe", "a link to a device", "a folder"])
    def test_what_is_no_regular_file_is_refused_at_once(self, run, name, kind):
        path = run.path / name
        path.unlink()
        if kind == "a pipe":
            os.mkfifo(path)
        elif kind == "a folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
        with pytest.raises((CorruptFileError, InputError), match=r"not a regular file|is a folder|not a run folder"):
            read_everything(run)

    def test_a_file_much_larger_than_the_model_is_not_read(self, run):
        with (run.path / MODEL_FILE).open("r+b") as file:
            file.truncate(1 << 40)  # takes no room on the disk
        with pytest.raises(CorruptFileError, match="is larger than"):
            run.load_model(CODEC)

    @pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "..", "a/b"])
    def test_a_manifest_names_files_beside_it_only(self, run, name):
        (run.path / MANIFEST_FILE).write_text(json.dumps({"sha256": {name: digest(b"")}}))
        with pytest.raises(CorruptFileError, match="not a manifest"):
            run.config()

    def test_tensors_that_are_no_model_are_refused(self, run):
        run.save_model(tensor_bytes({"x": torch.zeros(2)}))
        with pytest.raises(CorruptFileError, match=rf"{MODEL_FILE}: holds no embedding"):
            run.load_model(CODEC)

    def test_byte_pairs_are_kept_and_verified(self, tmp_path):
        pytest.importorskip("tokenizers")
        pairs = BytePairs.train(["the cat sat"], 260)
        folder = RunFolder(tmp_path / "run")
        folder.create({}, Codec(pairs, Vocabulary(("<eos>", *pairs.pieces))))
        assert folder.codec().line("the hat") == Codec(pairs, Vocabulary(("<eos>", *pairs.pieces))).line("the hat")
        path = folder.path / TOKENIZER_FILE
        path.write_text(path.read_text().replace("260", "261") + " ")
        with pytest.raises(CorruptFileError, match=rf"{TOKENIZER_FILE}: altered"):
            folder.codec()

    def test_metrics_are_sealed_when_the_run_ends(self, run):
        (run.path / "metrics.jsonl").write_text("{}\n")
        run.seal(["metrics.jsonl"])
        assert run.read("metrics.jsonl") == b"{}\n"
        assert run.recipe() == RECIPE

    def test_a_run_that_dies_while_it_begins_is_a_whole_run_or_none(self, tmp_path, monkeypatch):
        """Whichever rename is the last one, the folder holds no run, or one that can be read."""
        replace = os.replace
        for survived in range(6):
            renames = iter(range(survived))

            def dying(source, target, renames=renames):
                if next(renames, None) is None:
                    raise KeyboardInterrupt
                replace(source, target)

            folder = RunFolder(tmp_path / f"run-{survived}")
            monkeypatch.setattr(partial.os, "replace", dying)
            try:
                folder.create({"recipe": RECIPE.model_dump(mode="json")}, CODEC)
                finished = True
            except KeyboardInterrupt:
                finished = False
            monkeypatch.setattr(partial.os, "replace", replace)
            if folder.holds_run():
                assert folder.recipe() == RECIPE
                assert folder.codec().vocabulary == CODEC.vocabulary
            if finished:
                break
            # and it can begin again
            folder.create({"recipe": RECIPE.model_dump(mode="json")}, CODEC)
            assert folder.recipe() == RECIPE
        assert finished
        assert survived > 2


def read_everything(run: RunFolder) -> None:
    run.recipe()
    run.load_model(run.codec())


class TestLinks:
    """A run folder from another person may contain links."""

    @pytest.fixture
    def outside(self, tmp_path) -> Path:
        (tmp_path / "outside").write_text("mine")
        return tmp_path / "outside"

    @pytest.mark.parametrize("name", ["training.svg", MODEL_FILE, CONFIG_FILE, VOCABULARY_FILE, MANIFEST_FILE])
    @pytest.mark.parametrize("dangling", [False, True])
    def test_a_link_in_the_place_of_a_file_is_replaced(self, run, outside, name, dangling):
        content = (run.path / name).read_bytes() if (run.path / name).exists() else b"new"
        target = outside if name != MANIFEST_FILE else outside.with_name("copy")
        if name == MANIFEST_FILE:
            target.write_bytes(content)
        if dangling:
            target = outside.with_name("nothing")
        if name == MANIFEST_FILE and dangling:
            pytest.skip("a run without its manifest is refused")
        before = target.read_bytes() if not dangling else None
        (run.path / name).unlink(missing_ok=True)
        (run.path / name).symlink_to(target)
        if name == MANIFEST_FILE:
            run.write({"training.svg": b"new"})
        elif name == CONFIG_FILE:
            run.create({"recipe": RECIPE.model_dump(mode="json")}, CODEC)
        else:
            run.write({name: content})
        assert not (run.path / name).is_symlink()
        assert target.exists() != dangling
        assert dangling or target.read_bytes() == before

    def test_a_picture_is_not_drawn_through_a_link(self, run, outside):
        (run.path / "training.svg").symlink_to(outside)
        save(run.path / "training.svg", b"<svg/>")
        assert outside.read_text() == "mine"
        assert (run.path / "training.svg").read_bytes() == b"<svg/>"

    def test_metrics_are_not_appended_through_a_link(self, run, outside):
        (run.path / "metrics.jsonl").symlink_to(outside)
        journal = Journal(run.path / "metrics.jsonl")
        with journal.open_at(step=0, epochs=0):
            journal.write({"step": 1})
        assert outside.read_text() == "mine"
        assert (run.path / "metrics.jsonl").read_text() == '{"step": 1}\n'

    @pytest.mark.parametrize("device", ["/dev/zero", "pipe"])
    def test_metrics_that_are_no_regular_file_are_refused(self, run, tmp_path, device):
        if device == "pipe":
            os.mkfifo(tmp_path / "pipe")
        (run.path / "metrics.jsonl").symlink_to(tmp_path / device)
        journal = Journal(run.path / "metrics.jsonl")
        with pytest.raises(CorruptFileError, match="not a regular file"), journal.open_at(step=0, epochs=0):
            pass

    def test_a_link_in_the_place_of_the_checkpoints_is_refused(self, run, tmp_path):
        (run.path / "checkpoints").rmdir()
        (tmp_path / "elsewhere").mkdir()
        (run.path / "checkpoints").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(CorruptFileError, match="checkpoints is a link"), run.claimed():
            pass
        with pytest.raises(CorruptFileError, match="checkpoints is a link"):
            run.checkpoints.save(1, {"weights": b"w"})
        assert names(tmp_path / "elsewhere") == set()

    def test_a_link_in_the_place_of_a_checkpoint_is_replaced(self, run, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "weights").write_text("mine")
        (run.path / "checkpoints" / "step-00000005").symlink_to(tmp_path / "elsewhere")
        run.checkpoints.save(5, {"weights": b"w"})
        run.discard_unfinished()
        assert run.checkpoints.latest() == {"weights": b"w"}
        assert (tmp_path / "elsewhere" / "weights").read_text() == "mine"
        assert names(run.path / "checkpoints") == {"step-00000005"}

    @pytest.mark.parametrize("name", [MODEL_FILE, CONFIG_FILE, MANIFEST_FILE])
    def test_the_outputs_of_other_commands_do_not_replace_a_file_of_a_run(self, run, name):
        before = (run.path / name).read_bytes()
        with pytest.raises(UsageError, match="is a file of a run folder; name another"):
            write_whole(run.path / name, b"output")
        assert (run.path / name).read_bytes() == before
        write_whole(run.path / "of-my-own.txt", b"output")


def damage_checkpoint(folder: Path, damage: str) -> None:
    path = folder / ("manifest.json" if "manifest" in damage else "weights")
    if damage in ("missing", "no manifest", "a pipe"):
        path.unlink()
    else:
        path.write_bytes({"truncated": b"newe", "altered": b"never", "damaged manifest": b"{}"}[damage])
    if damage == "a pipe":
        os.mkfifo(path)


class TestCheckpoints:
    def test_the_newest_is_read_back(self, run):
        assert run.checkpoints.latest() is None
        for step in (5, 40, 1_000):
            run.checkpoints.save(step, {"counters.json": str(step).encode(), "weights": b"w"})
        assert run.checkpoints.latest() == {"counters.json": b"1000", "weights": b"w"}

    def test_two_are_kept(self, run):
        for step in (9, 10, 11, 100):
            run.checkpoints.save(step, {"counters.json": b"{}"})
        assert names(run.path / "checkpoints") == {"step-00000011", "step-00000100"}

    def test_the_same_step_again_replaces(self, run):
        run.checkpoints.save(5, {"counters.json": b"before"})
        run.checkpoints.save(5, {"counters.json": b"after"})
        assert run.checkpoints.latest() == {"counters.json": b"after"}
        assert names(run.path / "checkpoints") == {"step-00000005"}

    @pytest.mark.parametrize("damage", ["altered", "truncated", "missing", "a pipe", "no manifest", "damaged manifest"])
    def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(self, run, damage):
        run.checkpoints.save(4, {"weights": b"older"})
        run.checkpoints.save(5, {"weights": b"newer", "counters.json": b"{}"})
        damage_checkpoint(run.path / "checkpoints" / "step-00000005", damage)
        told = []
        assert run.checkpoints.latest(told.append) == {"weights": b"older"}
        [line] = told
        assert "step-00000005 is damaged; going on from the checkpoint before it, step-00000004" in line
        # what is saved from now on counts as newer, and the damaged files stay
        run.checkpoints.save(5, {"weights": b"again"})
        assert run.checkpoints.latest(told.append) == {"weights": b"again"}
        assert len(told) == 1
        assert "damaged-step-00000005" in names(run.path / "checkpoints")

    def test_weights_that_are_not_finite_are_damage(self, run):
        good, bad = (tensor_bytes({"x": torch.tensor([1.0, value])}) for value in (2.0, float("nan")))
        run.checkpoints.save(4, {"weights.safetensors": good})
        run.checkpoints.save(5, {"weights.safetensors": bad})
        told = []
        assert run.checkpoints.latest(told.append) == {"weights.safetensors": good}
        assert "x holds numbers that are not finite" in told[0]

    def test_where_no_checkpoint_is_whole_the_way_out_is_named(self, run):
        for step in (4, 5):
            run.checkpoints.save(step, {"weights": b"w"})
            damage_checkpoint(run.path / "checkpoints" / f"step-0000000{step}", "altered")
        with pytest.raises(CorruptFileError, match=r"no checkpoint is whole; to begin again, remove .*checkpoints and"):
            run.checkpoints.latest()
        assert len(run.checkpoints.folders) == 2
        shutil.rmtree(run.path / "checkpoints")
        assert run.checkpoints.latest() is None

    def test_a_full_disk_leaves_the_checkpoints_that_were_there(self, run, monkeypatch):
        run.checkpoints.save(5, {"weights": b"good"})
        calls = iter(range(2))
        fsync = os.fsync

        def full(descriptor):
            if next(calls, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        monkeypatch.setattr(partial.os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run.checkpoints.save(6, {"weights": b"half", "counters.json": b"{}"})
        assert names(run.path / "checkpoints") == {"step-00000005"}
        assert run.checkpoints.latest() == {"weights": b"good"}

    def test_a_killed_process_leaves_a_checkpoint_at_every_moment(self, run, monkeypatch):
        """The folder is copied before each rename and each removal, as a power cut would leave it."""
        run.checkpoints.save(5, {"weights": b"first"})
        moments = []

        def photographed(function):
            def wrapper(*arguments, **keywords):
                copy = run.path.parent / f"moment-{len(moments)}"
                shutil.copytree(run.path, copy)
                moments.append(copy)
                return function(*arguments, **keywords)

            return wrapper

        monkeypatch.setattr(os, "replace", photographed(os.replace))
        run.checkpoints.save(6, {"weights": b"second", "counters.json": b"{}"})
        run.checkpoints.save(6, {"weights": b"third"})
        assert len(moments) >= 6
        for moment in moments:
            folder = RunFolder(moment)
            folder.discard_unfinished()
            assert folder.checkpoints.latest() is not None
            assert all(name.startswith("step-") for name in names(moment / "checkpoints"))
            assert folder.recipe() == RECIPE

    def test_what_a_killed_process_left_is_ignored_and_cleaned(self, run):
        run.checkpoints.save(5, {"weights": b"w"})
        before = set(run.path.rglob("*"))
        with partial.temporary_folder(run.path / "checkpoints") as folder:
            (folder / "weights").write_bytes(b"half")
            with partial.temporary_file(run.path) as file:
                file.write(b"half")
                file.flush()
                copy = run.path.parent / "killed"
                shutil.copytree(run.path, copy)
        killed = RunFolder(copy)
        assert len(list(copy.rglob("*"))) > len(before)
        assert killed.checkpoints.latest() == {"weights": b"w"}
        killed.discard_unfinished()
        assert {path.relative_to(copy) for path in copy.rglob("*")} == {p.relative_to(run.path) for p in before}

    def test_the_users_own_files_are_left_alone(self, run):
        mine = [".pre-commit-config.yaml", ".git-blame-ignore-revs", "notes.txt", "step-by-step.md"]
        for name in mine:
            (run.path / name).write_text("mine")
        run.discard_unfinished()
        assert all((run.path / name).read_text() == "mine" for name in mine)


def test_tensors_go_round_whatever_their_layout(tmp_path):
    value = torch.arange(6.0).view(2, 3).t()
    saved = tensors(tensor_bytes({"x": value, "n": torch.tensor(3)}), tmp_path)
    assert torch.equal(saved["x"], value)
    assert saved["n"].item() == 3
