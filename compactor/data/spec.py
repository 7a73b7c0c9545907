"""What a recipe says about its data and their augmentation; importable without numpy and torch."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Color = Literal["rgb", "grey"]
Rows = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(gt=0, lt=1)]
SplitName = Literal["train", "select", "report"]
SPLIT_NAMES: dict[str, Literal["train", "select", "validation", "report"]] = {
    "train": "train",
    "select": "select",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "report",
    "report": "report",
}
"""How files and folders call their splits; a published validation is select or report (find_files.py)."""

Quantization = Literal["full", "hard", "smoothing", "marginal-smoothing", "marginal-renorm"]
"""How the soft labels of a store are kept and read (label_store/quantization.py)."""


class MixSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """More samples to train on, without labels: the train part of `dataset`.

    `share` of an epoch's samples come from it; absent = as many as it has rows. `limit` rows of it are used
    at most, drawn at random. `dataset` is named as in `data.dataset`; for images also a pool (`pool.json`).
    `image_column` is that of the data where it is absent.
    """

    dataset: Annotated[str, Meta(min_length=1)]
    share: Fraction | None = None
    text_column: str = "text"
    image_column: str | None = None
    limit: Rows | None = None


class VocabularySpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Trim the tokenizer to what a domain needs, for the data and all models that read it.

    Attributes:
        texts: Tables, or folders of tables, whose train texts say which pieces are needed.
        most: Largest number of ids; the most frequent pieces are kept. Absent = all pieces that occur.
        text_column: Column of the texts.
    """

    texts: Annotated[list[str], Meta(min_length=1)]
    most: Annotated[int, Meta(ge=1)] | None = None
    text_column: str = "text"


class NearDuplicateSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an image counts as a copy of another one; the defaults were tuned on training images alone.

    Attributes:
        neighbours: Candidates by the teacher's features, an image.
        thumbnail_neighbours: Candidates by thumbnails of 8x8 pixels: small images that were encoded again
            lie far apart in a teacher's features.
        least_similarity: Cosine of features below which a neighbour is no candidate.
        least_thumbnail: Correlation of thumbnails below which pixels are not compared.
        pixels: Correlation of aligned, band-passed pixels from which two images are copies.
        tiny_pixels: The same for images of less than 16 pixels, which are compared whole and mirrored alone:
            so few pixels are alike often.
        least_contrast: Grey levels (of 255): images that vary less after the band pass are copies only where
            every pixel is equal.
        keypoints_from: Short side in pixels from which keypoints are compared too, which needs the extra
            `pool`; 0 = never.
        keypoint_candidates: Candidates whose keypoints are compared, by features and by pixels each.
        inliers: Matched keypoints on one homography that make two images copies.
        inlier_share: The same as a share of the keypoints of the image that has fewer, where at least
            `least_inliers` lie on it.
        least_inliers: Fewest matched keypoints that `inlier_share` may rest on.
    """

    neighbours: Annotated[int, Meta(ge=1, le=1000)] = 20
    thumbnail_neighbours: Annotated[int, Meta(ge=0, le=1000)] = 12
    least_similarity: Annotated[float, Meta(ge=-1, le=1)] = 0.3
    least_thumbnail: Annotated[float, Meta(ge=-1, le=1)] = 0.4
    pixels: Annotated[float, Meta(gt=0, le=1)] = 0.9
    tiny_pixels: Annotated[float, Meta(gt=0, le=1)] = 0.985
    least_contrast: Annotated[float, Meta(ge=0)] = 1.0
    keypoints_from: Annotated[int, Meta(ge=0)] = 96
    keypoint_candidates: Annotated[int, Meta(ge=1, le=1000)] = 5
    inliers: Annotated[int, Meta(ge=4)] = 30
    inlier_share: Fraction = 0.2
    least_inliers: Annotated[int, Meta(ge=4)] = 12


class DataSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which data set, and how it is decoded and split.

    Attributes:
        dataset: A name of the data set table, or the path of a table (.parquet, .csv, .tsv, .jsonl), of a
            folder of tables named by split, or of an image folder; or the id of a data set on the hub
            (`owner/name`). A name wins over a path: write `./digits` for a folder of that name.
        report: Path of a separate report split (table, folder of tables, or image folder).
        image_column: Column of encoded images: bytes, a struct with a field `bytes`, or (CSV, JSONL) paths
            relative to the table's folder.
        text_column: Column of texts, for text tasks; lists of words are joined by spaces.
        label_column: Column of labels: integers 0..C-1, or class names; for multi-label tasks lists of them,
            ones and zeros, or names with `|`, `;` or `,` between them. Absent from the table = unlabelled.
        classes: Class names in label order, or their number (then they are called "0", "1", ...); absent =
            those that the data state, or the sorted names found in train.
        tokenizer: For text tasks: a `tokenizer.json`, a folder that holds one, or a model (`hf:`,
            `package:`) that does; absent = the student's own, else the first teacher's that has one.
        vocabulary: Trim the tokenizer's vocabulary; absent = it stays whole.
        max_tokens: Tokens that a text is cut to, special ones included.
        slots_column: Column of BIO labels, one a word (a list, or a text with spaces), where the task has
            slots; the words are the text's runs without white space.
        also: Further texts or images without labels, mixed into training alone; select and report stay those
            of `dataset`.
        image_size: Stored height and width in pixels (short side resized, centre cut); absent = as they are,
            and then all images must have one size.
        color: Stored channels; absent = grey for digits, rgb for image files.
        select: Rows, or the fraction of train, that become the select split where none is published; absent =
            10% of train, at most 5,000.
        limit: At most that many rows of a split, as many of each class as possible.
        unreadable: `skip` leaves images out that cannot be decoded, and says which; absent = refuses them.
    """

    dataset: Annotated[str, Meta(min_length=1)]
    report: Annotated[str, Meta(min_length=1)] | None = None
    image_column: str = "image"
    text_column: str = "text"
    label_column: str = "label"
    classes: Annotated[list[str], Meta(min_length=1)] | Annotated[int, Meta(ge=1)] | None = None
    tokenizer: Annotated[str, Meta(min_length=1)] | None = None
    vocabulary: VocabularySpec | None = None
    max_tokens: Annotated[int, Meta(ge=3, le=8192)] = 64
    slots_column: str = "slots"
    also: list[MixSpec] = []
    image_size: Annotated[int, Meta(ge=1, le=4096)] | None = None
    color: Color | None = None
    select: Rows | Fraction | None = None
    limit: dict[SplitName, Rows] = {}
    unreadable: Literal["skip"] | UnsetType = UNSET  # absent from the digests of recipes without it

    def __post_init__(self) -> None:
        """Check what a type cannot say.

        Raises:
            ValueError: a class name occurs twice, or nothing is left of an epoch beside `also`.
        """
        names = self.class_names
        if names is not None and len(set(names)) < len(names):
            raise ValueError("classes: a name occurs twice, expected each class once")
        mixed = sum(one.share or 0 for one in self.also)
        if mixed >= 1 - 1e-9:  # 0.7 + 0.2 + 0.1 is a little less than 1
            raise ValueError(
                f"also: shares sum to {mixed:g}, expected less than 1: the rest is the share of dataset; "
                "name as dataset what is to have the largest share"
            )

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes as far as the spec states them."""
        if isinstance(self.classes, int):
            return [str(number) for number in range(self.classes)]
        return self.classes


class AugmentSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How training views are cut from the stored images, and what is done to their pixels afterwards.

    Attributes:
        crop: `pad` shifts the whole image by up to `padding` pixels over a zero border; `random-resized` cuts
            a random part and resizes it to the output size.
        padding: Largest shift of `pad`, in pixels.
        scale: Range of the part's area as a share of the image's (`random-resized`).
        ratio: Range of the part's width over height (`random-resized`).
        aspect: How `random-resized` draws within `ratio`: `log-uniform` is torchvision's rule, `uniform`
            Paddle's, whose parts always fit.
        flip: Mirror every second view, at random.
        policy: Change the pixels of a view after the cut: torchvision's `randaugment`, or `autoaugment` with
            the policy found on ImageNet. Teachers see the same view.
        policy_probability: Share of the views that the policy is applied to.
        magnitude: Strength of `randaugment`; at 30 its operations are strongest.
        num_ops: Operations of `randaugment`, one after the other.
        erase: Share of the views of which a random rectangle is made black, after the policy.
    """

    crop: Literal["none", "pad", "random-resized"] = "none"
    padding: Annotated[int, Meta(ge=0, le=4096)] = 4
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    aspect: Literal["log-uniform", "uniform"] = "log-uniform"
    flip: bool = False
    policy: Literal["none", "randaugment", "autoaugment"] = "none"
    policy_probability: Annotated[float, Meta(gt=0, le=1)] = 1.0
    magnitude: Annotated[int, Meta(ge=0, le=30)] = 9
    num_ops: Annotated[int, Meta(ge=1)] = 2
    erase: Annotated[float, Meta(ge=0, le=1)] = 0.0

    def __post_init__(self) -> None:
        """Check the ranges, and that every option of a policy has an effect.

        Raises:
            ValueError: a range is empty or leaves its bounds, or an option belongs to another choice.
        """
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale: got {list(self.scale)}, expected 0 < low <= high <= 1")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio: got {list(self.ratio)}, expected 0 < low <= high")
        if self.aspect != "log-uniform" and self.crop != "random-resized":
            raise ValueError(f"aspect: has no effect with crop {self.crop}; remove it, or cut random-resized")
        if self.policy == "none" and self.policy_probability != 1:
            raise ValueError("policy_probability: has no effect without a policy; remove it, or name one")
        if self.policy != "randaugment" and (self.magnitude, self.num_ops) != (9, 2):
            raise ValueError(
                f"magnitude and num_ops: have no effect with policy {self.policy}; remove them, or set "
                "policy randaugment"
            )

    @property
    def is_recorded_by_box(self) -> bool:
        """Whether a view's box and flip say all of it, so that a label store can replay it."""
        return self.policy == "none" and self.erase == 0


class MaskingSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which tokens of `task: masked-lm` are to be guessed, anew in every epoch.

    `rate` of all tokens but special ones is chosen (at least one a text); of these the share `keep` stays as
    it is, `random` becomes any other token, the rest the mask token. `positions` says where teacher and
    student are compared: at the chosen tokens, or at all that are no padding.
    """

    rate: Annotated[float, Meta(gt=0, lt=1)] = 0.15
    keep: Annotated[float, Meta(ge=0, le=1)] = 0.1
    random: Annotated[float, Meta(ge=0, le=1)] = 0.1
    positions: Literal["masked", "all"] = "masked"
