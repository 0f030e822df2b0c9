"""Three test crops of frames that are larger than the crop both ways."""

import numpy as np
from mmaction.datasets.transforms import ThreeCrop
from mmaction.registry import TRANSFORMS

__all__ = ['WideThreeCrop']


@TRANSFORMS.register_module()
class WideThreeCrop(ThreeCrop):
    """Crop left, right and centre, half-way up where there is room.

    MMAction2's ``ThreeCrop`` refuses frames that are larger than the crop
    both ways, such as Something-Something's 256 x 320. There the three views
    are those of the TDS-CLIP program: at 0, ``4 * ws`` and ``2 * ws`` from
    the left and ``2 * hs`` from the top, with ``ws = (w - crop) // 4`` and
    ``hs = (h - crop) // 4``. Frames as high or as wide as the crop get
    ``ThreeCrop``'s own views.

    Required keys: imgs. Modified keys: imgs, img_shape. Added keys:
    crop_bbox.

    Args:
        crop_size (int | tuple[int, int]): Width and height of a crop.
    """

    def __init__(self, crop_size: int | tuple[int, int]) -> None:
        super().__init__(crop_size)

    def transform(self, results: dict) -> dict:
        """Crop ``results['imgs']``, all frames of one view after another.

        Args:
            results (dict): A sample of MMAction2.

        Returns:
            dict: The same with three times as many frames.

        Raises:
            ValueError: If the frames are smaller than the crop.
        """
        imgs = results['imgs']
        height, width = imgs[0].shape[:2]
        crop_width, crop_height = self.crop_size
        if width < crop_width or height < crop_height:
            raise ValueError(
                f'frames of {height} x {width} pixels are smaller than the '
                f'crop of {crop_height} x {crop_width}: enlarge them with '
                'Resize, or lower crop_size.')
        if height == crop_height or width == crop_width:
            return super().transform(results)
        step = (width - crop_width) // 4
        top = (height - crop_height) // 4 * 2
        boxes = [(left, top, left + crop_width, top + crop_height)
                 for left in (0, 4 * step, 2 * step)]
        results['imgs'] = [img[y1:y2, x1:x2]
                           for x1, y1, x2, y2 in boxes for img in imgs]
        results['crop_bbox'] = np.repeat(boxes, len(imgs), axis=0)
        results['img_shape'] = (crop_height, crop_width)
        return results
