"""Pseudo-annotation of in-the-wild pictures: masks, metric depth and intrinsics become scenes with oriented 3D boxes.
Geometry in numpy alone; the networks that see are in `model/annotators`, the stage that joins both is `tasks.annotate`.

    kept = detections.select(boxes, filters.detection, drops)       # confident boxes, each thing once
    space = scenes.place(with_masks, depth, K, filters)             # gravity, clean point clouds
    image, objects = scenes.records(0, "a.jpg", size, space, poses, categories, filters, drops)     # Omni3D
"""
