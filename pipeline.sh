#!/usr/bin/env bash
# COCO annotations -> masks -> a trained network -> segmented pictures, in one go.
#
#   ./pipeline.sh                        on a small data set that is drawn here
#   ./pipeline.sh --coco 1000            on N photographs of COCO, and N/4 to validate on: downloaded
#   ./pipeline.sh COCO_DIR               on real data: train2017, val2017, annotations
#   ./pipeline.sh COCO_DIR --epochs 30   flags go to train.py
#   ./pipeline.sh --locked ...           with the very packages of requirements.lock
#
# Everything is written below runs/, and downloads into coco_dataset/; COCO_DIR is only read. Running
# it again goes on where it stopped. The small network and image size suit two processor cores and a
# few minutes.
set -euo pipefail

requirements=requirements.txt coco_dir='' work='' max_train=5000 max_val=2000
if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "$0"
    exit 0
fi
if [[ ${1:-} == --locked ]]; then
    requirements=requirements.lock
    shift
fi
if [[ ${1:-} == --coco ]]; then
    if [[ ! ${2:-} =~ ^[1-9][0-9]{0,5}$ ]]; then
        echo "pipeline.sh: --coco ${2:-}: expected a number of photographs, such as 1000" >&2
        exit 2
    fi
    max_train=$2 max_val=$((($2 + 3) / 4))
    coco_dir=coco_dataset
    shift 2
elif [[ -n ${1:-} && $1 != -* ]]; then
    if [[ ! -d $1 ]]; then
        echo "pipeline.sh: $1: no such folder" >&2
        exit 2
    fi
    coco_dir=$(cd "$1" && pwd)
    shift
fi
cd "$(dirname "$0")"
./runtime/setup.sh "$requirements"
python=.venv/bin/python

if [[ $coco_dir == coco_dataset ]]; then
    $python -m datasets.download --output_dir coco_dataset \
        --train_images "$max_train" --val_images "$max_val"
    coco_dir=$PWD/coco_dataset work=runs/coco_$max_train
fi
if [[ -z $coco_dir ]]; then
    work=runs/sample
    $python -m datasets.sample --output_dir $work/data --train_images 640
else
    work=${work:-runs/$(basename "$coco_dir")}
    mkdir -p "$work/data"
    for name in annotations train2017 val2017; do
        link=$work/data/$name
        if [[ ! -e $coco_dir/$name ]]; then
            echo "pipeline.sh: $coco_dir has no $name; expected the layout that COCO unzips to" >&2
            exit 2
        elif [[ ! -L $link ]]; then
            ln -s "$coco_dir/$name" "$link"
        elif [[ $(readlink "$link") != "$coco_dir/$name" ]]; then
            echo "pipeline.sh: $work belongs to $(readlink "$link"); move it away" >&2
            exit 2
        fi
    done
fi
data=$work/data run=$work/run predictions=$work/predictions

masks() {  # SPLIT MAX_IMAGES
    $python generate_masks.py --images_dir "$data/${1}2017" --max_images "$2" \
        --annotations_file "$data/annotations/instances_${1}2017.json" \
        --output_dir "$data/masks_$1"
}
masks train "$max_train"
masks val "$max_val"

if [[ -e $run/checkpoints/last.pt ]]; then
    $python train.py --resume "$run" "$@"
else
    rm -rf "${run:?}"  # of a run that was stopped in its first epoch
    $python train.py --data_dir "$data" --run_dir "$run" --image_size 96 \
        --features 16 32 64 128 --batch_size 4 --epochs 8 --lr 2e-3 --loss dice_ce "$@"
fi

$python inference.py --images_dir "$data/val2017" --masks_dir "$data/masks_val" --checkpoint "$run" \
    --output_dir "$predictions"

echo
echo "Look at:"
echo "  $(ls "$run"/predictions/*.png | tail -n 1)   validation images, truth, prediction"
echo "  $predictions/overlays/   each validation image with its prediction"
echo "  $run/curves.png   loss and scores of each epoch; confusion.png: which label is taken for which"
