"""Training commands as the predecessor's documents give them."""

FLUX_LIGHTNING = r"""
export FLAGS_use_fused_rmsnorm="yes"
python -u -m paddle.distributed.launch --gpus "0,1,2,3,4,5,6,7" train_flux_lightning_lora.py \
    --data_path "shards/laion-45w" \
    --file_list_path "shards/list.txt" \
    --pretrained_teacher_model "black-forest-labs/FLUX.1-dev" \
    --output_dir outputs/lora_flux_lightning \
    --tracker_project_name lora_flux_lightning \
    --mixed_precision "bf16" --fp16_opt_level "O2" \
    --resolution "1024" --lora_rank "32" --learning_rate "5e-6" --loss_type "huber" --adam_weight_decay "1e-3" \
    --max_train_steps "28652" --dataloader_num_workers "32" --guidance_scale "3.5" --validation_steps "20000" \
    --checkpointing_steps "1000" --checkpoints_total_limit "30" --train_batch_size "1" \
    --gradient_accumulation_steps "1" --resume_from_checkpoint "latest" --seed "453645634" \
    --num_euler_timesteps "100" --multiphase "4" --gradient_checkpointing --adv_weight 0.1 --adv_lr 1e-5 \
    --pre_alloc_memory 76 --use_dmd_loss --dmd_weight 0.01 --apply_reflow_loss --reflow_loss_weight 0.01
"""

LCM = r"""
#!/bin/bash
export FLAGS_conv_workspace_size_limit=4096
# it's a comment with an apostrophe, and a $VARIABLE
export OUTPUT_DIR="lcm_outputs"
export BATCH_SIZE=12
export MAX_ITER=10000
FILE_LIST=./processed_data/filelist/custom_dataset.filelist.list
# FILE_LIST=./data/filelist/train.filelist.list
MODEL_NAME_OR_PATH="%(model)s"
IS_SDXL=%(sdxl)s
RESOLUTION=%(resolution)s

%(launcher)s train_lcm.py \
    --do_train \
    --output_dir ${OUTPUT_DIR} \
    --per_device_train_batch_size ${BATCH_SIZE} --gradient_accumulation_steps 1 --learning_rate 1e-4 \
    --weight_decay 0.0 --max_steps ${MAX_ITER} --lr_scheduler_type "constant" --warmup_steps 0 \
    --image_logging_steps 100 --logging_steps 10 --resolution ${RESOLUTION} --save_steps 2000 \
    --save_total_limit 20 --seed 23 --dataloader_num_workers 4 \
    --pretrained_model_name_or_path ${MODEL_NAME_OR_PATH} --file_list ${FILE_LIST} --model_max_length 77 \
    --max_grad_norm 1 --disable_tqdm True --overwrite_output_dir --recompute True --loss_type "huber" \
    --lora_rank 64 --is_sdxl ${IS_SDXL} --is_lora %(lora)s \
    --bf16 True --fp16_opt_level O2 > train.log 2>&1 &
"""


def lcm(lora: bool = True, sdxl: bool = False, launcher: str = "python") -> str:
    """The LCM document's script with its switches set."""
    model = "stabilityai/stable-diffusion-xl-base-1.0" if sdxl else "runwayml/stable-diffusion-v1-5"
    return LCM % {
        "model": model,
        "sdxl": sdxl,
        "resolution": 1024 if sdxl else 512,
        "lora": lora,
        "launcher": launcher,
    }
