"""The predecessor's training commands: what every flag becomes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml
from commands import FLUX_LIGHTNING, lcm

from fastdiffusers.distillation.imported import KEYS, SCRIPTS, Fate, import_command, table
from fastdiffusers.distillation.imported.flag import Flag
from fastdiffusers.errors import InputError

RECIPE_KEYS = frozenset(
    yaml.safe_load("""[
    steps, batch, seed, workers, lr, warmup_steps, schedule, decay_fraction, weight_decay, muon, clip, ema,
    max_bad_steps, checkpoint_every, keep_checkpoints, sample_every, log_every, accumulation, precision,
    recompute, tracker, best_by, adam_beta1, adam_beta2, adam_epsilon, model, train, rank, alpha, targets, data,
    data_kind, file_list, prompts, examples, resolution, buckets, min_side, min_aesthetic, max_watermark,
    max_unreadable, caption_drop, trajectories, teacher_steps, guidance_min, guidance_max, true_guidance,
    student_guidance, terms, compat, validation_prompts, validation_seed, compile, solver_steps, phases, form,
    loss, huber_c, target_ema, edge_share, edge_from, consistency_weight, adversarial_weight, adversarial_lr,
    adversarial_beta1, adversarial_depths, opponent_turns, dmd_weight, dmd_on, dmd_critic, dmd_critic_lr,
    teacher_guidance, opponent_warmup, reflow_weight, kd_weight, sampler, student_steps
    ]""")
)
FLUX = "train_flux_lightning_lora.py"
TABLE = table()
ALL_FLAGS = [(script.name, flag) for script in SCRIPTS.values() for flag in script.flags]


def test_flux_lightning_document() -> None:
    imported = import_command(FLUX_LIGHTNING)
    assert imported.method == "flux-lightning"
    assert not imported.refused
    assert imported.recipe == yaml.safe_load("""
        {model: black-forest-labs/FLUX.1-dev, train: lora, rank: 32, alpha: 32, targets: [attention, mlp],
        data: shards/laion-45w, data_kind: laion, file_list: shards/list.txt, resolution: 1024, buckets: false,
        examples: null, guidance_min: 3.5, guidance_max: 3.5, true_guidance: false, student_guidance: true,
        terms: [consistency, adversarial, dmd, reflow], compat: none, solver_steps: 100, phases: 4,
        form: x, loss: huber, huber_c: 0.001, target_ema: 0.0, edge_share: 0.0,
        adversarial_weight: 0.1, adversarial_lr: 1.0e-5, adversarial_beta1: 0.0, opponent_turns: 1,
        dmd_weight: 0.01, reflow_weight: 0.01, steps: 28652, batch: 8, accumulation: 1, seed: 453645634,
        lr: 5.0e-6, schedule: constant, warmup_steps: 0, muon: false, adam_beta1: 0.9, adam_beta2: 0.999,
        adam_epsilon: 1.0e-8, weight_decay: 0.001, clip: 1.0, ema: 0.0, precision: bf16-o2, recompute: true,
        checkpoint_every: 1000, keep_checkpoints: 30, sample_every: 20000}
    """)
    assert imported.words == ("--out", "outputs/lora_flux_lightning", "--resume", "auto")
    assert imported.command("my recipe.yaml") == (
        "python -m paddle.distributed.launch --gpus 0,1,2,3,4,5,6,7 fastdiff distill flux-lightning "
        "--recipe 'my recipe.yaml' --out outputs/lora_flux_lightning --resume auto"
    )
    text = imported.yaml()
    assert text.startswith("# python -m paddle.distributed.launch")
    assert "14326 of them update the student" in text
    assert "8/32 = 0.25" in text
    assert "--pre_alloc_memory 76" in text


def test_defaults_are_the_predecessors() -> None:
    """A flag that is not given has the predecessor's default, also where ours differs."""
    recipe = import_command(f"{FLUX} --max_train_steps 10 --multiphase 5").recipe
    wanted = {"rank": 4, "loss": "l2", "solver_steps": 50, "batch": 4, "weight_decay": 1e-4, "lr": 1e-4}
    assert recipe | wanted == recipe
    assert recipe["terms"] == ["consistency", "adversarial"]
    assert recipe["precision"] == "float32"
    assert "dmd_weight" not in recipe
    assert "seed" not in recipe
    assert import_command(f"{FLUX} --use_dmd_loss --apply_reflow_loss --multiphase 1").recipe["reflow_weight"] == 1.0


def test_compat_reference() -> None:
    recipe = import_command(FLUX_LIGHTNING, compat="reference").recipe
    assert (recipe["alpha"], recipe["compat"]) == (8, "reference")
    asked = f"{FLUX} --multiphase 1 --max_train_steps 100 --lr_scheduler cosine --lr_warmup_steps 20"
    plain = import_command(asked).recipe
    assert (plain["schedule"], plain["warmup_steps"], plain["decay_fraction"]) == ("cosine", 20, 0.8)
    imported = import_command(asked, compat="reference")
    assert (imported.recipe["schedule"], imported.recipe["warmup_steps"]) == ("constant", 0)
    assert {item.flag: item.fate for item in imported.outcomes}["--lr_scheduler"] is Fate.DROPPED
    with pytest.raises(InputError, match="valid: none, reference"):
        import_command(FLUX, compat="both")


def test_no_discriminator_halves_the_steps() -> None:
    imported = import_command(f"{FLUX} --multiphase 1 --max_train_steps 101 --adv_weight 0 --adv_lr 1e-4")
    assert imported.recipe["terms"] == ["consistency"]
    assert imported.recipe["steps"] == 50
    assert "adversarial_lr" not in imported.recipe
    assert "adversarial_weight" not in imported.recipe


@pytest.mark.parametrize("sdxl", [False, True])
@pytest.mark.parametrize("lora", [False, True])
def test_lcm_document(lora: bool, sdxl: bool) -> None:
    imported = import_command(lcm(lora, sdxl))
    recipe = imported.recipe
    assert imported.method == "lcm"
    assert not imported.refused
    assert imported.words == ("--out", "lcm_outputs", "--resume", "never")
    assert imported.command().startswith("FLAGS_conv_workspace_size_limit=4096 fastdiff distill lcm --recipe this.yaml")
    wanted = yaml.safe_load(f"""
        {{steps: 10000, batch: 12, lr: 1.0e-4, seed: 23, schedule: constant, warmup_steps: 0, solver_steps: 50,
        phases: 1, student_steps: 4, sampler: lcm, terms: [consistency], loss: huber,
        precision: bf16-{"o2" if lora else "o1"},
        recompute: true, clip: 1.0,
        true_guidance: true, student_guidance: {not lora}, target_ema: {0.0 if lora else 0.95},
        train: {"lora" if lora else "full"}, resolution: {1024 if sdxl else 512}, min_side: {1024 if sdxl else 512},
        guidance_min: {4.0 if sdxl else 6.0}, guidance_max: 16.0, checkpoint_every: 2000, keep_checkpoints: 20,
        sample_every: 100, log_every: 10, data_kind: laion,
        data: ., file_list: ./processed_data/filelist/custom_dataset.filelist.list}}
    """)
    assert recipe | wanted == recipe
    assert recipe.get("rank") == (64 if lora else None)
    assert recipe.get("alpha") == (8 if lora else None)


@pytest.mark.parametrize("compat", ["none", "reference"])
@pytest.mark.parametrize(
    "command", [FLUX_LIGHTNING, *(lcm(lora, sdxl) for lora in (True, False) for sdxl in (True, False))]
)
def test_the_trainer_takes_every_documents_recipe(command: str, compat: str) -> None:
    from fastdiffusers.distillation.keys import DistillConfig
    from fastdiffusers.training.recipe import build_config

    imported = import_command(command, compat)
    assert not imported.refused
    build_config(DistillConfig, yaml.safe_load(imported.yaml()))


def test_lcm_on_eight_devices() -> None:
    imported = import_command(lcm(launcher='python -u -m paddle.distributed.launch --gpus "0,1,2,3,4,5,6,7"'))
    assert imported.recipe["batch"] == 96
    assert " --gpus 0,1,2,3,4,5,6,7 fastdiff distill lcm " in imported.command()


@pytest.mark.parametrize("kind", ["lora_sd", "lora_sdxl", "sd", "sdxl"])
def test_webdataset_scripts(kind: str) -> None:
    given = "--pretrained_teacher_model m --max_train_steps 20 --lr_scheduler linear --lr_warmup_steps 5 --scale_lr"
    imported = import_command(f"train_lcm_distill_{kind}_wds.py {given}")
    recipe = imported.recipe
    full, sdxl = "lora" not in kind, "sdxl" in kind
    wanted = yaml.safe_load(f"""
        {{model: m, schedule: linear, warmup_steps: 5, decay_fraction: 0.75, weight_decay: 0.01, loss: l2, batch: 16,
        train: {"full" if full else "lora"}, resolution: {1024 if sdxl else 512},
        guidance_min: {4.0 if sdxl else 6.0}, target_ema: {0.95 if full else 0.0}}}
    """)
    assert recipe | wanted == recipe
    assert recipe["lr"] == pytest.approx(1e-4 * 16)
    refused = import_command(f"train_lcm_distill_{kind}_wds.py --train_shards_path_or_url 'a/{{0..9}}.tar'").refused
    assert [item.flag for item in refused] == ["--train_shards_path_or_url"]


def _sample(flag: Flag) -> str:
    if flag.choices:
        return str(flag.choices[0])
    if flag.kind is bool:
        return "True"
    if flag.kind is str:
        return "latest" if flag.name == "resume_from_checkpoint" else "text"
    return str(flag.kind(max(flag.minimum or 0, min(flag.maximum or 64, 64))))


@pytest.mark.parametrize(("script", "flag"), ALL_FLAGS, ids=[f"{name}--{flag.name}" for name, flag in ALL_FLAGS])
def test_every_flag(script: str, flag: Flag) -> None:
    """Each flag is read in every spelling, ends as its table says, and its recipe reads back."""
    value = _sample(flag)
    imported = import_command(f"{script} --{flag.name} {value}")
    assert imported.recipe == import_command(f"{script} --{flag.name}={value}").recipe
    outcome = next(item for item in imported.outcomes if item.flag == f"--{flag.name}")
    if outcome.fate is Fate.MAPPED:
        assert outcome.becomes
        assert any(key in imported.recipe for key in outcome.becomes.split())
    else:
        assert outcome.note
    if flag.fate is Fate.REFUSED and flag.read(value) not in flag.only:
        assert outcome in imported.refused
    if flag.fate in (Fate.DROPPED, Fate.REFUSED):
        assert outcome.fate in (Fate.DROPPED, Fate.REFUSED)
    assert set(imported.recipe) <= RECIPE_KEYS
    assert yaml.safe_load(imported.yaml()) == imported.recipe
    assert set(flag.becomes.split()) <= RECIPE_KEYS | {"--out", "--resume"}
    assert f"| `--{flag.name}` |" in TABLE


@pytest.mark.parametrize(
    ("flag", "key"),
    [
        ("lora_rank", "rank"),
        ("adam_weight_decay", "weight_decay"),
        ("adam_beta1", "adam_beta1"),
        ("adv_lr", "adversarial_lr"),
        ("adv_weight", "adversarial_weight"),
        ("guidance_scale", "guidance_max"),
        ("huber_c", "huber_c"),
        ("learning_rate", "lr"),
        ("max_grad_norm", "clip"),
        ("max_train_steps", "steps"),
        ("num_validation_images", "validation_prompts"),
        ("checkpoints_total_limit", "keep_checkpoints"),
        ("seed", "seed"),
        ("train_batch_size", "batch"),
    ],
)
def test_values_arrive(flag: str, key: str) -> None:
    value = "7" if next(item for name, item in ALL_FLAGS if item.name == flag).kind is int else "0.5"
    assert import_command(f"{FLUX} --{flag} {value}").recipe[key] == float(value)


def test_switched_off() -> None:
    assert import_command("train_lcm.py --max_grad_norm -1").recipe["clip"] == 0.0
    assert import_command("train_lcm.py --no_is_lora").recipe["train"] == "full"
    assert import_command(f"{FLUX} --use_dmd_loss false --multiphase 1").recipe["terms"] == [
        "consistency",
        "adversarial",
    ]
    assert import_command(f"{FLUX} --dmd_weight 0.5").recipe["terms"] == ["consistency", "adversarial"]
    assert import_command("train_lcm.py --warmup_ratio 0.1 --max_steps 50").recipe["warmup_steps"] == 5
    assert import_command("train_lcm.py --report_to none --output_dir a").recipe["tracker"] == "none"
    assert import_command("train_lcm.py --output_dir a").words == ("--out", "a", "--resume", "auto")
    assert import_command(f"{FLUX} --mixed_precision fp16 --fp16_opt_level O0").recipe["precision"] == "float32"


def test_batch_and_accumulation() -> None:
    recipe = import_command(
        "python -m paddle.distributed.launch --nproc_per_node=2 --nnodes 3 train_lcm.py "
        "--per_device_train_batch_size 5 --gradient_accumulation_steps 4"
    ).recipe
    assert (recipe["batch"], recipe["accumulation"]) == (5 * 6, 4)


def test_machines_multiply() -> None:
    recipe = import_command("python -m paddle.distributed.launch --gpus 0,1 --ips a,b,c train_lcm.py").recipe
    assert recipe["batch"] == 8 * 2 * 3


def test_devices_from_the_environment() -> None:
    launch = "python -m paddle.distributed.launch train_lcm.py --per_device_train_batch_size 5"
    imported = import_command(f"CUDA_VISIBLE_DEVICES=1,3 {launch}")
    assert imported.recipe["batch"] == 10
    assert imported.command().startswith("CUDA_VISIBLE_DEVICES=1,3 python -m paddle.distributed.launch fastdiff")
    unknown = import_command(launch)
    assert unknown.recipe["batch"] == 5
    assert "does not say how many devices" in unknown.yaml()


@pytest.mark.parametrize(
    ("given", "refused"),
    [
        (f"{FLUX} --use_distill_loss", ["--use_distill_loss"]),
        (f"{FLUX} --adv_loss_type origin --variant fp16", ["--variant", "--adv_loss_type"]),
        (f"{FLUX} --max_sequence_length 256", ["--max_sequence_length"]),
        (f"{FLUX} --resume_from_checkpoint out/checkpoint-1000", ["--resume_from_checkpoint"]),
        (f"{FLUX} --lr_scheduler polynomial", ["--lr_scheduler"]),
        (f"{FLUX} --num_train_epochs 3", ["--num_train_epochs"]),
        (f"{FLUX} --num_euler_timesteps 50 --multiphase 4", ["--multiphase"]),
        ("train_lcm.py --sharding stage1 --tensor_parallel_degree 2", ["--sharding", "--tensor_parallel_degree"]),
        ("train_lcm.py --random_flip True", ["--random_flip"]),
        ("train_lcm.py --timestep_scaling_factor 5", ["--timestep_scaling_factor"]),
        ("train_lcm.py --bf16 True --fp16 True", ["--fp16"]),
        ("train_lcm.py --w_min 9 --w_max 8", ["--w_max"]),
        ("train_lcm.py --vae_name_or_path v", ["--vae_name_or_path"]),
    ],
)
def test_refused_by_name(given: str, refused: list[str]) -> None:
    extra = " --multiphase 5" if given.startswith(FLUX) and "--multiphase" not in given else ""
    imported = import_command(given + extra)
    assert [item.flag for item in imported.refused] == refused
    assert all(name in imported.complaint() for name in refused)
    assert all(item.note in " ".join(imported.yaml().replace("\n#     ", " ").split()) for item in imported.refused)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("python train_sdxl.py --steps 3", "none of the training scripts that are understood; valid is one of"),
        ("", "none of the training scripts"),
        (f"{FLUX} --x 1\n{FLUX}", "starts 2 training scripts"),
        (f"{FLUX} --use_dmd_los2 --foo", "unknown flags --use_dmd_los2 (the closest is --use_dmd_loss), --foo"),
        (f"{FLUX} --lora-rank 3", "--lora-rank (the closest is --lora_rank)"),
        (f"{FLUX} --lora_rank four", "--lora_rank is 'four'; valid is a whole number"),
        (f"{FLUX} --lora_rank 1_0", "--lora_rank is '1_0'; valid is a whole number"),
        (f"{FLUX} --lora_rank 0", "--lora_rank is '0'; valid is at least 1"),
        (f"{FLUX} --learning_rate nan", "--learning_rate is 'nan'; valid is a finite number"),
        (f"{FLUX} --learning_rate -1", "--learning_rate is '-1'; valid is at least 0"),
        (f"{FLUX} --adam_beta1 2", "valid is at most 1"),
        (f"{FLUX} --loss_type l1", "--loss_type is 'l1'; valid: l2, huber"),
        (f"{FLUX} --max_train_steps", "--max_train_steps has no value"),
        (f"{FLUX} --max_train_steps --seed 3", "--max_train_steps has no value"),
        (f"{FLUX} --output_dir ''", "--output_dir is ''; valid is text that is not empty"),
        (f"{FLUX} --gradient_checkpointing=maybe", "valid is true or false"),
        (f"{FLUX} --lr 3", "--lr is short for several flags; valid: --lr_scheduler, --lr_warmup_steps"),
        (f"{FLUX} more", "the word 'more' belongs to no flag"),
        (f"{FLUX} --seed $SEED", "the command uses $SEED, which has no value in it; put SEED=… in front"),
        (f"{FLUX} --seed $(date +%s)", "holds a substitution"),
        (f"{FLUX} --seed `date`", "holds a substitution"),
        (f"{FLUX} --output_dir 'a", "quotation mark that is not closed"),
        (f"accelerate launch {FLUX}", "the launcher 'accelerate launch' is not understood; valid: python"),
        (f"python -m paddle.distributed.launch --gpu 0 {FLUX}", "unknown option '--gpu' of paddle.distributed.launch"),
        (f"python -m paddle.distributed.launch --nnodes two {FLUX}", "--nnodes of paddle.distributed.launch is 'two'"),
    ],
)
def test_wrong_input(given: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        import_command(given)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shell_is_read_and_never_run(tmp_path) -> None:  # type: ignore[no-untyped-def]
    mark = tmp_path / "mark"
    text = (
        f'touch {mark}; A=1; B="$A 2" # comment \'x\n'
        f'cd somewhere && nohup python3 /a/b/{FLUX} --data_path "${{B}}/c" \\\n'
        "  --file_list_path 'it costs $A' --output_dir a\\ b --seed \\\n 3 2>&1 | tee log.txt\necho done"
    )
    imported = import_command(text)
    assert imported.recipe["data"] == "1 2/c"
    assert imported.recipe["file_list"] == "it costs $A"
    assert imported.recipe["seed"] == 3
    assert imported.words[1] == "a b"
    assert not mark.exists()


def test_words_that_a_shell_has_cut() -> None:
    words = ["python", FLUX, "--data_path", "a b $HOME", "--multiphase=1"]
    assert import_command(words).recipe["data"] == "a b $HOME"


def test_the_last_value_counts_and_names_may_be_cut_short() -> None:
    imported = import_command(f"{FLUX} --seed 1 --seed 2 --tracker_project_nam x")
    assert imported.recipe["seed"] == 2
    assert [item.flag for item in imported.outcomes if item.value == "x"] == ["--tracker_project_name"]


@pytest.mark.parametrize("nasty", ["a: b # c", "a\nb: 1", "- x", "null", "1e-3", "ü “q”", "\x1b[31m"])
def test_nasty_values_stay_values(nasty: str) -> None:
    imported = import_command([FLUX, "--data_path", nasty, "--output_dir", nasty, "--hub_model_id", nasty])
    assert yaml.safe_load(imported.yaml()) == imported.recipe
    assert imported.recipe["data"] == nasty
    lines = [line for line in imported.yaml().split("\n") if line and not line.startswith("#")]
    assert len(lines) == len(imported.recipe)


def test_a_secret_is_never_shown() -> None:
    imported = import_command(f"{FLUX} --hub_token hf_very_secret")
    assert "hf_very_secret" not in imported.yaml()
    assert "hf_very_secret" not in str(imported.to_dict())


def test_keys_are_ordered_once() -> None:
    assert set(KEYS) == RECIPE_KEYS
    assert len(KEYS) == len(set(KEYS))


def test_table_is_markdown() -> None:
    rows = [line for line in TABLE.splitlines() if line.startswith("| `--")]
    assert all(line.count(" | ") == 2 for line in rows)
    assert "| `--max_train_steps` | `steps` |" in TABLE
    assert "| `--pre_alloc_memory` | dropped |" in TABLE
    assert "| `--use_distill_loss` | dropped if false, else refused |" in TABLE


def test_no_paddle() -> None:
    code = (
        "import sys; from fastdiffusers.distillation.imported import table; table(); sys.exit('paddle' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
