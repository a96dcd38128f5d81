"""The thresholds of pseudo-annotation, all of them keys of params.yaml (annotate.*).
Defaults are those of the nearest public relative, `wufeim/SpatialReasonerDataGen`, where it has them."""

from dataclasses import dataclass

from data_registry import ranges


@dataclass(frozen=True, slots=True)
class DetectionFilters:
    """Which detections become objects.

    Attributes:
        box_score: least confidence of a box.
        text_score: least confidence of its best tag.
        nms_iou: of two boxes that overlap more than this, the less confident one is dropped.
        mask_score: least confidence of a mask (the segmenter's estimate of its own overlap with the truth).
        min_area, max_area: of a mask, as shares of the image.
        most_objects: of one image, the most confident ones.
        edge_px: a mask that comes this near to the image's edge may go on beyond it, so its box would be wrong; 0 lets
            all pass.
    """

    box_score: ranges.Share = 0.25
    text_score: ranges.Share = 0.2
    nms_iou: ranges.Share = 0.5
    mask_score: ranges.Share = 0.3
    min_area: ranges.Share = 0.0005
    max_area: ranges.Share = 0.8
    most_objects: ranges.Count = 64
    edge_px: ranges.Natural = 1


@dataclass(frozen=True, slots=True)
class CloudFilters:
    """Which points are an object's.

    Attributes:
        edge_ratio: pixels on a slope steeper than this share of their depth belong to neither side of an outline.
        min_points: least points of a mask.
        most_points: a larger cloud is thinned to so many.
        neighbours, outlier_deviations: a point is an outlier if the mean distance to its nearest neighbours is so many
            standard deviations above the cloud's mean.
        voxel_m: side of the cubes of which each keeps one point.
        cluster_m, cluster_points: DBSCAN's radius and least points in it.
        cluster_spacings: the radius is at least so many pixels' distance, so that far things do not fall apart.
        min_cluster: least points of the cluster that is kept.
        max_depth_m: beyond it a depth is no measurement.
    """

    edge_ratio: ranges.Positive = 0.1
    min_points: ranges.Count = 16
    most_points: ranges.Count = 1500
    neighbours: ranges.Count = 10
    outlier_deviations: ranges.Positive = 3.0
    voxel_m: ranges.Positive = 0.01
    cluster_m: ranges.Positive = 0.2
    cluster_points: ranges.Count = 10
    cluster_spacings: ranges.Positive = 3.0
    min_cluster: ranges.Count = 10
    max_depth_m: ranges.Positive = 80.0


@dataclass(frozen=True, slots=True)
class GravityFilters:
    """When the direction of gravity is taken from the depth map.

    Attributes:
        max_tilt_deg: most angle between up and the picture's up; cameras look down, but are rarely held on their side.
        spread_deg: normals this near to each other are of one surface direction.
        min_share: least share of all normals that agree; below it gravity is unknown.
        step_px: distance of the pixels that a normal is computed from; more for noisier depth.
    """

    max_tilt_deg: ranges.Degrees = 50.0
    spread_deg: ranges.Degrees = 5.0
    min_share: ranges.Share = 0.08
    step_px: ranges.Count = 1


@dataclass(frozen=True, slots=True)
class PoseFilters:
    """Which poses become fronts.

    Attributes:
        confidence: least confidence of the azimuth; below it an object has no front, and gets no orientation question.
        upright_deg: most angle between the pose's up and gravity; a pose that stands askew is not trusted.
    """

    confidence: ranges.Share = 0.5
    upright_deg: ranges.Degrees = 30.0


@dataclass(frozen=True, slots=True)
class BoxFilters:
    """Which boxes are kept.

    Attributes:
        quantile: share of the points that may lie outside a face of the box.
        min_side_m, max_side_m: of the shortest and the longest side.
    """

    quantile: ranges.Share = 0.0
    min_side_m: ranges.NotNegative = 0.01
    max_side_m: ranges.Positive = 30.0
