"""Every hyperparameter, in groups and under one flat name: default, meaning, range or choices, other spellings."""

from __future__ import annotations

from dataclasses import dataclass

from thorax.config.fields import Spelling, parameter, read_bool
from thorax.data.formats.registry import FORMAT_NAMES
from thorax.data.formats.table_options import BLANKS, READERS
from thorax.errors import ThoraxError
from thorax.models.registry import MODELS


def _builtin(name: str) -> tuple[Spelling, ...]:
    return (Spelling(name, "built-in"),)


def _layers(text: str) -> str:
    if f"resnet{text}" not in MODELS:
        raise ThoraxError(f"num_layers={text!r} is not offered; choose 18, 34, 50, 101 or 152")
    return f"resnet{text}"


def _amp(text: str) -> str:
    return "auto" if read_bool("amp", text) else "float32"


# fmt: off
# A table of data: name, type, default, meaning, and the allowed values of each hyperparameter.


@dataclass(frozen=True)
class Network:
    """The network and the weights that it starts from."""

    network: str = parameter(
        "resnet50", "network to train: a classification network of torchvision by its name, cnn5, or timm/NAME (with"
        " timm installed)", choices=MODELS,
        spellings=(Spelling("num_layers", "built-in", _layers), Spelling("arch", "torchvision"),
                   Spelling("model_name", "timm")))
    image_shape: tuple[int, ...] = parameter(
        (1, 224, 224), "channels,height,width of what the network sees; of grey images 3 channels repeat one (see"
        " color)", low=1)
    use_pretrained_model: bool = parameter(
        False, "start from weights: a state_dict file in torchvision's layout, given by `weights`")
    weights: str | None = parameter(
        None, "state_dict file or its folder to start from; default: the channel `weights`, then `model`",
        spellings=(Spelling("checkpoint", "timm"),))
    dropout: float = parameter(
        0.0, "dropout before the last layer (AlexNet and cnn5: in their dense layers, there 0.5 is usual)", low=0.0,
        high=0.95)
    freeze: str = parameter(
        "none", "none, or head: only the last layer is trained (until `unfreeze_epochs` says more)",
        choices=("none", "head"))
    unfreeze_epochs: tuple[int, ...] = parameter(
        (), "staged unfreezing: epochs at whose start the next stage, from the head down, is trained too, such as"
        " 0,1,1,3 (one stage from the start on, two more after the first epoch, one after the third); needs"
        " freeze=head", low=0)
    freeze_batchnorm: bool = parameter(
        False, "batch norm keeps the statistics of the starting weights, in training too; its weights are trained")
    fit_head: float = parameter(
        0.0, "fit the last layer to the features of the starting weights, over all training images as served, before"
        " the first epoch: logistic regression with this L2 penalty (0 = off; 0.1 is usual)", low=0.0, high=1000.0)
    layer_decay: float = parameter(
        1.0, "learning rate of each stage = the stage above it x this (1 = all alike)", low=0.0, high=1.0,
        open_low=True)


@dataclass(frozen=True)
class Data:
    """How channels are read, labelled, split and prepared."""

    data_format: str = parameter(
        "auto", "format of the channels; auto looks at them; csv and parquet are table",
        choices=FORMAT_NAMES)
    labels: tuple[str, ...] = parameter(
        (), "label names in order; of two classes the second is the positive one; names the numbers of .lst and .rec,"
        " picks categories of COCO; default: as found")
    num_classes: int | None = parameter(None, "checked against the data when given", low=1)
    num_training_samples: int | None = parameter(
        None, "compared with the data when given; a difference is a warning", low=1)
    multi_label: bool | None = parameter(None, "an image may have several labels or none; default: as the data says")
    keep_unlabelled: bool = parameter(True, "with several labels: keep images that have none of them, as negatives")
    count_crowds: bool = parameter(True, "COCO: a box of a crowd counts as one of its category")
    label_format: str = parameter(
        "auto", "manifest: a list of numbers is 0 and 1 per label (multi-hot) or class indices (class-id); auto looks"
        " at them", choices=("auto", "multi-hot", "class-id"))
    attribute_names: tuple[str, ...] = parameter(
        (), "manifest: the image's and the label's attribute; default: source-ref and the one label")
    resize: int | None = parameter(
        None, "short side in pixels that images are scaled to, aspect kept, before the crop to image_shape", low=8,
        high=8192)
    fit: str = parameter(
        "auto", "how an image becomes image_shape: stretch (whole image, aspect given up), crop (centre), pad (whole"
        " image, black bars); auto = crop with `resize` or augmentation_type=crop*, else stretch",
        choices=("auto", "stretch", "crop", "pad"))
    color: str = parameter(
        "auto", "gray, or rgb (three channels of colour); auto: rgb where image_shape has 3 channels and a quarter or"
        " more of 64 sampled training images carry colour that is no tint, else gray; what is taken is in the log and"
        " in the bundle", choices=("auto", "gray", "rgb"), affects_result=False)
    normalization: str = parameter(
        "image", "image: each image to mean 0, std 1; fixed: (level/255-mean)/std with normalization_mean and _std;"
        " dataset: by mean and std over the pixels of the training images, of each channel; imagenet: by ImageNet's",
        choices=("image", "fixed", "dataset", "imagenet"), renamed={"film": "image"})
    normalization_mean: tuple[float, ...] = parameter(
        (), "with normalization=fixed: mean of level/255, one number or one for each channel, as given weights ask for"
        " it; default: 0.5", low=0.0, high=1.0, spellings=(Spelling("mean", "timm"),))
    normalization_std: tuple[float, ...] = parameter(
        (), "with normalization=fixed: std of level/255, one number or one for each channel; default: 0.25", low=0.0,
        high=1000.0, open_low=True, spellings=(Spelling("std", "timm"),))
    validation_fraction: float = parameter(
        0.15, "share of the training patients held out where there is no validation channel", low=0.02, high=0.5)
    folds: int | None = parameter(
        None, "cross-validation: cut the train channel by patient into so many folds, of which `fold` is held out as"
        " validation; `thorax train RECIPE --folds 5` runs them all", low=2, high=100)
    fold: int | None = parameter(None, "with folds: the one that is held out, from 0", low=0, high=99)
    own_split: bool = parameter(
        True, "use the parts that a channel itself marks: a split column, NIH's official lists, folders train/val/test,"
        " COCO's two files; false: all its images belong to the channel's part")
    patient_scope: str = parameter(
        "global", "global: one patient id is one person in all channels; channel: ids are counted anew in each channel"
        " (the Kaggle set's file names)", choices=("global", "channel"))
    skip_corrupt: bool = parameter(
        False, "leave images out that cannot be read (counted in the log) instead of stopping")
    streaming: bool | None = parameter(
        None, "read shards (or RecordIO) in order, forward only, instead of image by image at random places; default:"
        " where the train channel holds shards")
    shuffle_buffer: int = parameter(
        1024, "with streaming: images that wait in memory to be shuffled, of all processes together", low=1)
    path_column: str | None = parameter(
        None, "table: the column of paths or names of images; names of columns here need no spaces and no case")
    path_prefix: str | None = parameter(None, "table: what stands before each path, such as images/")
    path_suffix: str | None = parameter(None, "table: what stands after each path, such as .dcm")
    patient_column: str | None = parameter(None, "table: the column of patients")
    study_column: str | None = parameter(None, "table: the column of studies (several images of one examination)")
    label_columns: tuple[str, ...] = parameter(
        (), "table: a column per label, or the one column of names; rsna: target or class; nih: the 4 findings")
    split_column: str | None = parameter(None, "table: the column that says train, validation or test")
    where: tuple[str, ...] = parameter(
        (), "table and published sets: only rows with these values, such as Frontal/Lateral=Frontal,AP/PA=PA,AP; of"
        " several conditions all must hold")
    uncertain: tuple[str, ...] = parameter(
        (), "what training does with uncertain labels (-1, `Edema?`): ignore, zero, one, class (a label of its own) or"
        " soft:LOW-HIGH (a number drawn between for each image); for one label LABEL:one, such as"
        " ignore,Edema:one; validation and test never score them; default: ignore")
    blank: str = parameter(
        "auto", "what blank labels mean: unknown or negative; auto: unknown in a column per label, none of the labels"
        " in an empty text of several labels, no class among exclusive classes", choices=BLANKS)
    readers: str = parameter(
        "auto", "several rows of one image: any of them, the majority, or their mean as a soft label; auto: majority"
        " for vindr, any for rsna's boxes, else they must say the same", choices=READERS)
    balanced_sampler: bool = parameter(
        False, "draw images so that every class (label combination) is seen equally often")


@dataclass(frozen=True)
class AugmentationFields:
    """Random changes of the training images."""

    augmentation_type: str = parameter(
        "xray", "none | crop (random crop + flip) | crop_color | crop_color_transform, as in the built-in algorithm, or"
        " xray: small rotation, shift, scale, tone curves, uneven light, blur, noise, erasing; never a flip, the heart"
        " has a side", choices=("none", "crop", "crop_color", "crop_color_transform", "xray"))
    augmentation_strength: float = parameter(1.0, "scales the ranges of augmentation_type=xray", low=0.0, high=2.0)


@dataclass(frozen=True)
class Optimisation:
    """Optimizer, schedule and loss."""

    epochs: int = parameter(30, "passes over the training images", low=1, high=100000)
    batch_size: int = parameter(
        32, "images per step and machine, split over its processes", low=1, high=65536,
        spellings=_builtin("mini_batch_size"))
    accumulation_steps: int = parameter(
        1, "parts that a batch is worked off in, to save memory; the result is that of the whole batch but for batch"
        " norm", low=1, high=4096)
    optimizer: str = parameter(
        "adamw", "optimizer", choices=("sgd", "nag", "adam", "adamw", "rmsprop"), registry="optimizer")
    learning_rate: float = parameter(
        0.001, "peak learning rate", low=0.0, high=10.0, open_low=True, spellings=(Spelling("lr", "script-mode"),))
    weight_decay: float = parameter(
        0.0001, "weight decay of matrices and filters (never of biases and norms)", low=0.0, high=0.999,
        spellings=(Spelling("wd", "built-in"),))
    momentum: float = parameter(0.9, "momentum of sgd and nag", low=0.0, high=0.999)
    beta_1: float = parameter(
        0.9, "first moment decay of adam and adamw", low=0.0, high=0.9999,
        spellings=(Spelling("beta1", "script-mode"),))
    beta_2: float = parameter(
        0.999, "second moment decay of adam and adamw", low=0.0, high=0.999999,
        spellings=(Spelling("beta2", "script-mode"),))
    eps: float = parameter(
        0.00000001, "added to the denominator of adam, adamw and rmsprop", low=0.0, high=1.0, open_low=True)
    gamma: float = parameter(0.9, "moving average decay of rmsprop", low=0.0, high=0.9999)
    lr_scheduler: str = parameter(
        "auto", "cosine, step (lr_scheduler_step, lr_scheduler_factor), plateau (lr_scheduler_patience,"
        " lr_scheduler_factor) or constant, all after the warm-up; auto: step where lr_scheduler_step is given, else"
        " cosine", choices=("auto", "cosine", "step", "plateau", "constant"), registry="schedule")
    lr_scheduler_step: tuple[int, ...] = parameter(
        (), "epochs after which the rate is multiplied by lr_scheduler_factor", low=1)
    lr_scheduler_patience: int = parameter(
        1, "lr_scheduler=plateau: epochs without a lower validation loss that are allowed before a step", low=0)
    lr_scheduler_factor: float = parameter(0.1, "factor of each step", low=0.0, high=1.0, open_low=True)
    warmup_epochs: float = parameter(1.0, "epochs of linear warm-up; parts of epochs are allowed", low=0.0)
    loss: str = parameter(
        "auto", "auto: bce for one logit and multi-label, cross_entropy for exclusive classes; or focal",
        choices=("auto", "bce", "cross_entropy", "focal"), registry="loss")
    focal_gamma: float = parameter(2.0, "focusing exponent of the focal loss", low=0.0, high=10.0)
    use_weighted_loss: bool = parameter(
        False, "weigh each label's positives by N/N_l, as the built-in algorithm does (negatives by N/(N-N_l) where"
        " there is one logit)")
    max_class_weight: float = parameter(20.0, "cap of those weights", low=1.0)
    label_smoothing: float = parameter(0.0, "targets 0 and 1 become s/2 and 1-s/2", low=0.0, high=0.5)
    clip_grad_norm: float | None = parameter(
        None, "largest norm of the gradient; longer ones are scaled down", low=0.0, open_low=True)
    ema_decay: float = parameter(
        0.0, "average of the weights that is evaluated and kept (0 = off; 0.998 is usual)", low=0.0, high=0.99999)
    swa_epochs: int = parameter(
        0, "stochastic weight averaging: the weights at the ends of so many last epochs are averaged, and kept where"
        " the objective on validation is as good as the best epoch's or better (0 = off; best with a rate that does not"
        " end at 0, such as lr_scheduler=constant)", low=0, high=100000)
    seed: int = parameter(0, "seed of everything random", low=0, high=2**31 - 1)
    kv_store: str = parameter(
        "dist_sync", "taken for the built-in algorithm's sake: machines always work in step", choices=("dist_sync",))


@dataclass(frozen=True)
class Stopping:
    """When a run ends before its last epoch."""

    early_stopping: bool = parameter(False, "stop when the objective has not improved")
    early_stopping_min_epochs: int = parameter(10, "never before this many epochs", low=1)
    early_stopping_patience: int = parameter(5, "epochs without improvement that are allowed", low=1)
    early_stopping_tolerance: float = parameter(0.0, "an improvement is more than this", low=0.0)


@dataclass(frozen=True)
class Speed:
    """Precision, layout, processes and threads."""

    precision_dtype: str = parameter(
        "auto", "auto: the fastest on this machine with this network, measured in a second before the first step; of"
        " those whose loss and gradients are safe",
        choices=("auto", "float32", "float16", "bfloat16"), spellings=(Spelling("amp", "torchvision", _amp),))
    tf32: bool = parameter(
        True, "on a GPU, float32 convolutions and matrix products round their inputs to 10 bits after the point:"
        " several times faster; false: all 23", affects_result=False)
    deterministic: bool = parameter(
        False, "on a GPU, only kernels that add in one order: the same run gives the same numbers bit for bit, also"
         " when it is killed and resumed, on the same kind of GPU and the same versions; slower, as cuDNN may not try"
         " its kernels; a CPU does so in any case", affects_result=False)
    channels_last: bool | None = parameter(
        None, "memory layout: channels last, or (false) contiguous; default: the faster one, measured",
        affects_result=False)
    activation_checkpointing: bool = parameter(
        False, "keep only each block's input and compute the rest again in the backward pass: less memory, a third more"
        " time", affects_result=False)
    compile: bool = parameter(False, "torch.compile the network", affects_result=False)
    sync_batchnorm: bool = parameter(
        True, "batch norm over all processes, so that N processes train as one does; each layer waits for all, so false"
        " is faster where each has many images")
    num_workers: int | None = parameter(
        None, "processes that read images, per training process; default: from the CPUs", low=0, high=256,
        affects_result=False, spellings=(Spelling("workers", "timm"),))
    threads: int | None = parameter(
        None, "threads per training process for CPU arithmetic; default: the CPUs, or half of them where that is"
        " measured to be faster", low=1, high=1024, affects_result=False)


@dataclass(frozen=True)
class ScoreFields:
    """What is measured, and how thresholds are chosen."""

    objective: str = parameter(
        "auc", "validation metric that chooses the best epoch and that a tuner maximises (loss: minimises)",
        choices=("auc", "f1", "accuracy", "balanced_accuracy", "loss"))
    top_k: int | None = parameter(None, "also report top-k accuracy (exclusive classes)", low=2)
    threshold_rule: str = parameter(
        "balanced", "how thresholds are chosen on validation: balanced (class-balanced logistic fit), youden (highest"
        " sensitivity + specificity), sensitivity (the highest threshold that reaches target_sensitivity),"
        " cost (fewest false positives + cost_ratio x missed positives) or loss (0.5 of the answer before calibration;"
        " with use_weighted_loss both classes weigh alike there, and nothing hangs on how validation differs from other"
        " images)",
        choices=("balanced", "youden", "sensitivity", "cost", "loss"))
    target_sensitivity: float | None = parameter(
        None, "sensitivity that threshold_rule=sensitivity reaches on the validation images, such as 0.95", low=0.0,
        high=1.0, open_low=True)
    cost_ratio: float | None = parameter(
        None, "cost of one missed positive in false alarms, for threshold_rule=cost", low=0.0, high=1e6, open_low=True)
    threshold_views: int = parameter(
        4, "augmented views of each validation image, besides the image as served, that threshold_rule=balanced is"
        " fitted on", low=0, high=100)
    tta: int = parameter(
        1, "test-time augmentation: views of each image whose logits are averaged (1: the image alone; 4 or 8 are"
        " usual) in the run's scores, its calibration and thresholds, and wherever the bundle answers; an answer costs"
        " so many times as much. Mirrored views only with augmentation_type=crop...", low=1, high=16)
    calibration: str = parameter(
        "auto", "what makes probabilities mean more, fitted on validation: temperature (one factor for each label's"
        " logit), bias (one shift), platt (both), prior (takes class weights and balanced drawing back out; fits"
        " nothing) or none; auto: for each label the best by cross-validation over patients. Decisions stay the same",
        choices=("auto", "none", "prior", "temperature", "bias", "platt"), affects_result=False)
    bootstrap_samples: int = parameter(1000, "patients are resampled this often for the intervals", low=0, high=100000)
    optimize: bool = parameter(
        False, "quantise the network to int8 on the validation images for OpenVINO, as `thorax optimize` does; needs"
        " the packages openvino and nncf", affects_result=False)


@dataclass(frozen=True)
class Checkpointing:
    """How often a run is saved."""

    checkpoint_minutes: float = parameter(
        5.0, "a checkpoint is written this often, besides at every epoch's end", low=0.0, affects_result=False)
    checkpoint_frequency: int = parameter(1, "epochs between checkpoints at epochs' ends", low=1, affects_result=False)


@dataclass(frozen=True)
class Watching:
    """Log, trackers, debugger and profiler."""

    log_seconds: float = parameter(
        30.0, "seconds between progress lines where there is no terminal", low=0.1, affects_result=False)
    wandb_tracking: str = parameter(
        "false", "Weights & Biases: true (key in WANDB_API_KEY; offline where it cannot be reached) or offline (files"
        " to `wandb sync` later)", choices=("false", "true", "offline"), affects_result=False)
    tensorboard: bool = parameter(False, "event files for TensorBoard", affects_result=False)
    debugging: bool = parameter(
        False, "save losses, gradients and weights, and judge them by rules while training; not with compile",
        affects_result=False)
    debug_save_interval: int | None = parameter(
        None, "steps from one saved step to the next, for debugging; default: about 500 saved steps a run", low=1,
        affects_result=False)
    debug_rules: tuple[str, ...] = parameter(
        (), "the rules that debugging=true judges by, with their parameters, such as overfit:ratio=1.2:patience=5,"
        "gpu_memory_growth; default: all that need no activations", affects_result=False)
    profiler: bool = parameter(
        False, "time the stages of a step, trace some steps, sample the machine; names the bottleneck",
        affects_result=False)
    profiler_schedule: tuple[int, ...] = parameter(
        (20, 2, 3), "steps that the profiler waits (the last 10 of them are timed stage by stage), warms up and traces",
        low=0, affects_result=False)


# fmt: on
#: The groups by their titles, in the order of the reference page.
GROUPS: dict[str, type] = {
    "Network": Network,
    "Data": Data,
    "Augmentation": AugmentationFields,
    "Optimisation": Optimisation,
    "Stopping": Stopping,
    "Speed and memory": Speed,
    "Scores": ScoreFields,
    "Checkpoints": Checkpointing,
    "Watching": Watching,
}


@dataclass(frozen=True)
class Fields(
    Watching, Checkpointing, ScoreFields, Speed, Stopping, Optimisation, AugmentationFields, Data, Network
):  # dataclass takes the fields of the last base first: this is the order of GROUPS
    """Every hyperparameter under its flat name, and what follows from several of them."""

    @property
    def channels(self) -> int:
        """Of the network's input: those of `image_shape`, and 3 with color=rgb."""
        return 3 if self.color == "rgb" else self.image_shape[0]

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image_shape[1], self.image_shape[2]

    @property
    def resolved_scheduler(self) -> str:
        """`lr_scheduler` with auto resolved."""
        if self.lr_scheduler != "auto":
            return self.lr_scheduler
        return "step" if self.lr_scheduler_step else "cosine"

    @property
    def resolved_fit(self) -> str:
        """`fit` with auto resolved."""
        if self.fit != "auto":
            return self.fit
        return "crop" if self.resize or self.augmentation_type.startswith("crop") else "stretch"
