# The public names and the files that they live in. Type checkers and editors read this file, and so does lazy_loader.

from .cards.device import device as device
from .crossbar.array import Array as Array
from .crossbar.array import ArrayDevice as ArrayDevice
from .crossbar.cell_array import CellDevice as CellDevice
from .crossbar.exact import FloatDevice as FloatDevice
from .crossbar.reads.periphery import ReadPath as ReadPath
from .crossbar.synapse import Device as Device
from .crossbar.synapse import Synapse as Synapse
from .crossbar.tiling import TiledDevice as TiledDevice
from .crossbar.twin import TwinDevice as TwinDevice
from .data.dataset import Dataset as Dataset
from .data.dataset import load_data as load_data
from .devices.cell import BaseCell as BaseCell
from .ebm.build import Conv as Conv
from .ebm.build import hopfield as hopfield
from .ebm.costs import CrossEntropy as CrossEntropy
from .ebm.costs import SquaredError as SquaredError
from .ebm.hopfield import LayeredHopfield as LayeredHopfield
from .ebm.hopfield import Normalise as Normalise
from .ebm.inference import infer as infer
from .ebm.network import Network as Network
from .ebm.settle import Outcome as Outcome
from .ebm.settle import Phase as Phase
from .ebm.settle import Settled as Settled
from .ebm.settle import settle as settle
from .ebm.solvers import Anderson as Anderson
from .ebm.solvers import Newton as Newton
from .ebm.solvers import OddEven as OddEven
from .ebm.solvers import Synchronous as Synchronous
from .ebm.solvers import UpDown as UpDown
from .errors import InputError as InputError
from .errors import WorkError as WorkError
from .learning.ep import EquilibriumProp as EquilibriumProp
from .learning.equilibrium_gradients import Implicit as Implicit
from .learning.equilibrium_gradients import Unrolled as Unrolled
from .learning.exact import ExactGradient as ExactGradient
from .learning.rule import LearningRule as LearningRule
from .learning.train import train as train
from .rng import Streams as Streams
from .robustness.classifier import EquilibriumClassifier as EquilibriumClassifier
from .robustness.classifier import TorchClassifier as TorchClassifier
from .robustness.threat import Threat as Threat
from .stats.interval import Interval as Interval

__version__: str
