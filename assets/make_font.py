"""Makes `labels.ttf`, the font of the pictures' labels: the printable ASCII of DejaVu Sans Bold.

    pip install fonttools
    python assets/make_font.py /usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf

The font comes with Debian's fonts-dejavu-core, and inside matplotlib from PyPI
(mpl-data/fonts/ttf). Its licence is `labels.LICENSE.txt`.
"""

import pathlib
import sys

from fontTools import subset

options = subset.Options()
options.layout_features = []
options.hinting = False
options.desubroutinize = True
options.name_IDs = [0, 1, 2, 3, 4, 5, 13, 14]
options.recalc_timestamp = False
font = subset.load_font(sys.argv[1], options)
subsetter = subset.Subsetter(options)
subsetter.populate(unicodes=range(0x20, 0x7F))
subsetter.subset(font)
target = pathlib.Path(__file__).with_name("labels.ttf")
subset.save_font(font, str(target), options)
print(target, target.stat().st_size, "bytes")
