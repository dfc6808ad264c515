"""`siglip labels`: what a user sees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from siglipcli import labels as labelsets
from siglipcli.cli.labels import app
from siglipcli.errors import LabelError, OutputError, UsageError
from siglipcli.labels import spot


def siglip_labels(*arguments: str) -> Any:
    """Run `siglip labels ARGUMENTS`; an error of ours is raised, as the sub-app leaves it."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def write(name: str, text: str) -> str:
    """Write a file here and return its name."""
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_list_names_every_built_in_set() -> None:
    """The table holds each set's name, size and the start of its description."""
    result = siglip_labels("list")
    assert result.exit_code == 0
    for name in labelsets.builtin_names():
        assert f"\n{name} " in result.stdout
    assert "1000" in result.stdout
    assert result.stderr == ""


def test_list_gives_json_to_programs() -> None:
    """Each set is an object with its name, number of labels and description."""
    answer = json.loads(siglip_labels("list", "--format", "json").stdout)
    assert [one["name"] for one in answer] == labelsets.builtin_names()
    assert {one["name"]: one["labels"] for one in answer}["imagenet"] == 1000
    assert all(one["description"] for one in answer)


def test_show_prints_labels_prompts_and_thresholds() -> None:
    """A set's table says what the model reads for each label, and what is never a tag."""
    write(
        "pets.yaml",
        "name: pets\ndescription: At home\naggregate: max\nthreshold: 0.2\nbias_shift: 1.5\nexclusive: true\nlabels:\n"
        "- {name: cat, threshold: 0.3, children: [kitten]}\n- {name: other, negative: true}\n",
    )
    lines = siglip_labels("show", "pets.yaml").stdout.splitlines()
    assert (
        lines[0] == "pets: 3 labels (aggregate: max, threshold: 0.2, bias_shift: +1.5, exclusive)"
    )
    assert lines[1] == "At home"
    assert lines[2].split() == ["label", "threshold", "kind", "prompts"]
    assert [" ".join(line.split()) for line in lines[3:]] == [
        "cat 0.3 a photo of a cat.",
        "cat/kitten a photo of a kitten.",
        "other negative a photo of a other.",
    ]


def test_show_gives_json_to_programs() -> None:
    """The JSON holds every field of the set, templates filled in."""
    write("pets.yaml", "labels: [cat]")
    answer = json.loads(siglip_labels("show", "pets.yaml", "-f", "json").stdout)
    assert answer == {
        "name": "pets",
        "labels": [
            {"path": "cat", "prompts": ["a photo of a cat."], "threshold": None, "negative": False}
        ],
        "description": "",
        "aggregate": "mean",
        "threshold": None,
        "exclusive": False,
        "bias_shift": 0.0,
        "calibrated": None,
    }


def test_show_tells_what_the_model_reads() -> None:
    """`--tokens` prints the pieces of each prompt, as the model's tokenizer splits it."""
    write("x.yaml", "labels: [{name: red-circle, prompts: [red-circle, 猫]}]")
    shown = siglip_labels("show", "x.yaml", "--tokens", "--model", "demo").stdout
    assert "the model reads" in shown
    assert "▁red" in shown
    assert "<unk>" in shown
    answer = json.loads(
        siglip_labels("show", "x.yaml", "--tokens", "-m", "demo", "-f", "json").stdout
    )
    assert "".join(answer["labels"][0]["tokens"][0]) == "▁redcircle</s>"


def test_show_needs_no_download() -> None:
    """Where the model is not on this machine the words are shown, and how to fetch it is said."""
    write("x.yaml", "labels: [{name: a, prompts: [T-shirt]}]")
    result = siglip_labels("show", "x.yaml", "--tokens", "-m", "ViT-B-16-SigLIP-384")
    assert "tshirt" in result.stdout
    assert "siglip models pull ViT-B-16-SigLIP-384" in result.stderr


def test_show_says_what_thresholds_were_fitted_on() -> None:
    """A calibrated set names its model above the table."""
    fitted = "{model: big, precision: fp32, images: 1200, date: 2026-11-25}"
    write("x.yaml", f"labels: [cat]\ncalibrated: {fitted}")
    lines = siglip_labels("show", "x.yaml").stdout.splitlines()
    assert lines[1] == "calibrated for big (fp32, 1,200 images, 2026-11-25)"


def test_check_reads_as_the_named_model_does() -> None:
    """`--model` judges by that model's own tokens and context length."""
    write("x.yaml", f"labels: [{{name: a, prompts: ['{'red circle ' * 9}']}}, 'ＣＡＴ', cat]")
    assert "cut" not in siglip_labels("check", "x.yaml").stderr
    cut, same = siglip_labels("check", "x.yaml", "--model", "demo").stderr.splitlines()
    assert "is cut after 16 tokens" in cut
    assert "cat: the model reads the same prompt as for ＣＡＴ" in same


def test_sets_come_through_stdin() -> None:
    """`-` is a label set on stdin: YAML, JSON or one name per line."""
    result = CliRunner().invoke(app, ["check", "-"], input="cat\nbig dog\n")
    assert (result.exit_code, result.stdout) == (0, "-: 2 labels, 2 prompts\n")
    result = CliRunner().invoke(app, ["show", "-", "-f", "json"], input='["cat"]')
    assert json.loads(result.stdout)["labels"][0]["path"] == "cat"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["cat,dog"], ["cat", "dog"]),
        (["a cat, asleep"], ["a cat, asleep"]),
        (["1,000 people,a cat", "bird"], ["1,000 people", "a cat", "bird"]),
        (["cat,", ""], ["cat", ""]),
        (["3,cat"], ["3", "cat"]),
    ],
)
def test_labels_on_the_spot_are_split_at_commas(values: list[str], names: list[str]) -> None:
    """But not before a blank, as in a sentence, nor between digits."""
    assert spot.names(values) == names


def test_show_gives_yaml_to_start_from() -> None:
    """A built-in set's text can be saved, changed and used."""
    text = siglip_labels("show", "animals", "--format", "yaml").stdout
    write("mine.yaml", text)
    assert labelsets.load("mine.yaml") == labelsets.load("animals")


def test_show_neutralises_markup_and_reordering() -> None:
    """A name that looks like Rich markup is shown as it is; a direction override is escaped."""
    write("x.yaml", 'labels: ["[bold]cat[/bold]", "a\\u202eb"]')
    shown = siglip_labels("show", "x.yaml").stdout
    assert "[bold]cat[/bold]" in shown
    assert "\u202e" not in shown
    assert r"a\u202eb" in shown


def test_show_of_nothing_names_the_nearest() -> None:
    """An unknown set is a usage error that names the one probably meant."""
    with pytest.raises(LabelError, match="The nearest built-in set is 'animals'"):
        siglip_labels("show", "animal")


def test_check_counts_what_is_sound() -> None:
    """A sound file is one line on stdout and exit 0."""
    write("a.yaml", "labels: [cat]")
    write("b.yaml", "templates: ['a {}', 'my {}']\nlabels: [cat, dog]")
    result = siglip_labels("check", "a.yaml", "b.yaml")
    assert result.exit_code == 0
    assert result.stdout == "a.yaml: 1 label, 1 prompt\nb.yaml: 2 labels, 4 prompts\n"
    assert result.stderr == ""


def test_check_lists_every_error_of_every_file() -> None:
    """All mistakes are on stderr, sound files still on stdout, and the exit status is 2."""
    write("a.yaml", "threshold: 2\nlabels: [cat, cat]")
    write("b.yaml", "labels: [cat]")
    result = siglip_labels("check", "a.yaml", "b.yaml", "gone.yaml")
    assert result.exit_code == 2
    assert result.stdout == "b.yaml: 1 label, 1 prompt\n"
    assert result.stderr.splitlines() == [
        "a.yaml:1: threshold: expected a number from 0 to 1, found '2'.",
        "a.yaml:2: labels[1]: the label 'cat' is already on line 2.",
        "there is no file and no built-in label set 'gone.yaml'. `siglip labels list` names the built-in sets.",
    ]


def test_check_warns_of_what_the_model_does_not_see() -> None:
    """Labels that are one text to the model, and prompts it would cut, are warned of; exit 0."""
    long = "word " * 70
    write("x.yaml", f"labels: [C, C++, {{name: long, prompts: ['{long}']}}]")
    result = siglip_labels("check", "x.yaml")
    assert result.exit_code == 0
    same, joined, cut = result.stderr.splitlines()
    assert joined.startswith(
        "x.yaml: warning: C++: of the prompt 'a photo of a C++.' the model reads"
    )
    assert same == "x.yaml: warning: C++: the model reads the same prompt as for C."
    assert cut.startswith("x.yaml: warning: long: the prompt 'word word")
    assert cut.endswith("is cut after 64 tokens, the most this model reads.")


def test_check_caps_its_warnings() -> None:
    """A set full of look-alikes is not a flood."""
    names = ", ".join(f"'C{'.' * n}'" for n in range(50))
    write("x.yaml", f"labels: [{names}]")
    lines = siglip_labels("check", "x.yaml").stderr.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "x.yaml: warning: 29 more like these."


def test_check_needs_no_model() -> None:
    """Checking a set imports none of the heavy libraries."""
    write("x.yaml", "labels: [cat, Café]")
    program = (
        "import sys\nfrom siglipcli.cli.labels import app\n"
        "app(['check', 'x.yaml'], standalone_mode=False)\n"
        "heavy = {'torch', 'open_clip', 'PIL', 'tokenizers', 'transformers', 'timm', 'openvino'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    root = str(Path(labelsets.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "x.yaml: 2 labels, 2 prompts\n"


def test_importing_the_commands_imports_no_yaml() -> None:
    """The help of the program waits for neither YAML nor Rich's tables."""
    program = (
        "import sys\nimport siglipcli.cli.labels\n"
        "assert not {'yaml', 'rich.table', 'torch', 'numpy'} & set(sys.modules)\n"
    )
    root = str(Path(labelsets.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_new_writes_a_sound_set() -> None:
    """The starter file is a sound set that draws no warnings, named as asked."""
    result = siglip_labels("new", "my pets: both")
    assert result.stdout == ""
    assert result.stderr == ("Wrote my pets: both.yaml; edit it, then `siglip labels check` it.\n")
    found = labelsets.load("my pets: both.yaml")
    assert found.name == "my pets: both"
    assert "bird/owl" in [label.path for label in found.labels]
    assert siglip_labels("check", "my pets: both.yaml").stderr == ""


def test_new_does_not_replace_a_file_unless_forced() -> None:
    """A file that is there stays as it is, until --force."""
    write("pets.yaml", "labels: [mine]")
    with pytest.raises(UsageError, match=r"pets\.yaml is already there; --force replaces it"):
        siglip_labels("new", "pets")
    assert Path("pets.yaml").read_text(encoding="utf-8") == "labels: [mine]"
    siglip_labels("new", "pets", "--force")
    assert labelsets.load("pets.yaml").name == "pets"


def test_new_writes_where_it_is_told() -> None:
    """`--output` names the file, whatever the set is called."""
    siglip_labels("new", "pets/home", "--output", "x.yaml")
    assert labelsets.load("x.yaml").name == "pets/home"


def test_new_prints_the_set_where_the_output_is_a_dash() -> None:
    """`-o -` gives the set to the next program: no file, and no word of one."""
    result = siglip_labels("new", "pets", "-o", "-")
    assert labelsets.parse(result.stdout, "pets").name == "pets"
    assert result.stderr == ""
    assert list(Path().iterdir()) == []


def test_new_does_not_write_through_a_link_unless_forced() -> None:
    """A link that leads nowhere is there, too."""
    Path("pets.yaml").symlink_to("elsewhere.yaml")
    with pytest.raises(UsageError, match="is already there"):
        siglip_labels("new", "pets")
    assert not Path("elsewhere.yaml").exists()


@pytest.mark.parametrize("name", ["pets/home", "../pets", "/x"])
def test_new_wants_a_file_for_a_name_that_is_none(name: str) -> None:
    """A name that leads to another folder is not taken for a file."""
    with pytest.raises(UsageError, match="give the file with --output"):
        siglip_labels("new", name)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["", " ", "a\nb", "\udcff", "\x7f"])
def test_new_refuses_what_is_no_name(name: str) -> None:
    """Blank names and control characters are refused before a file is made."""
    with pytest.raises(LabelError):
        siglip_labels("new", name)
    assert list(Path().iterdir()) == []


def test_new_says_where_it_could_not_write() -> None:
    """A folder that is not there is an error of the output, on one line."""
    with pytest.raises(OutputError, match=r"write error: gone/x\.yaml: its folder does not exist"):
        siglip_labels("new", "pets", "-o", "gone/x.yaml")


@pytest.mark.parametrize("command", ["list", "show", "check", "new"])
def test_every_command_and_option_has_help(command: str) -> None:
    """`--help` explains the command and each of its options."""
    shown = siglip_labels(command, "--help").stdout
    assert "Usage:" in shown
    options = [line for line in shown.splitlines() if line.lstrip().startswith("-")]
    assert all(len(line.split()) > 3 for line in options)
