"""Vectors of numbers as values in compiled code.

A `Vector` of any number of lanes lives in registers; LLVM cuts it to what the processor has. The
compiler by itself neither keeps sums of a whole row in registers nor vectorises a search for
maxima. Positions count elements of the array as if it were flat; arrays must be C-contiguous.

The disk cache of numba does not notice edits in this file: remove the ``__pycache__`` folder of
the kernels after one (``make clean``).
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

INT16, INT32, INT64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


class Vector(types.Type):
    """Numba type of `lanes` floating-point numbers."""

    def __init__(self, dtype, lanes):
        self.dtype, self.lanes = dtype, lanes
        super().__init__(name=f"Vector({dtype} x {lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """LLVM's own vector."""

    def __init__(self, manager, vector):
        super().__init__(manager, vector, _llvm(vector))


def _llvm(vector):
    element = ir.FloatType() if vector.dtype == types.float32 else ir.DoubleType()
    return ir.VectorType(element, vector.lanes)


def _pointer(context, builder, kind, array, position, target):
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [position]), target.as_pointer())


def _broadcast(builder, number, target):
    undefined = ir.Constant(target, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(INT32, 0))
    mask = ir.Constant(ir.VectorType(INT32, target.count), [0] * target.count)
    return builder.shuffle_vector(first, undefined, mask)


def _call(builder, name, result, args, **options):
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(result, [a.type for a in args]), name
    )
    return builder.call(function, args, **options)


def _name(operation, vector):
    return f"llvm.{operation}.v{vector.lanes}f{vector.dtype.bitwidth}"


@intrinsic(prefer_literal=True)
def load(context, array, position, lanes):
    """Elements position : position + lanes."""
    vector = Vector(array.dtype, lanes.literal_value)

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], _llvm(vector))
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return vector(array, types.intp, lanes), generate


@intrinsic(prefer_literal=True)
def load_int16(context, array, position, lanes):
    """Elements position : position + lanes of an int16 array, as float32."""
    vector = Vector(types.float32, lanes.literal_value)

    def generate(context, builder, signature, args):
        narrow = ir.VectorType(INT16, vector.lanes)
        pointer = _pointer(context, builder, array, args[0], args[1], narrow)
        wide = builder.sext(builder.load(pointer, align=2), ir.VectorType(INT32, vector.lanes))
        return builder.sitofp(wide, _llvm(vector))

    return vector(array, types.intp, lanes), generate


@intrinsic(prefer_literal=True)
def load_strided(context, array, position, stride, lanes):
    """Elements position, position + stride, ..."""
    vector = Vector(array.dtype, lanes.literal_value)

    def generate(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        gathered, index = ir.Constant(_llvm(vector), ir.Undefined), args[1]
        for lane in range(vector.lanes):
            element = builder.load(builder.gep(data, [index]))
            gathered = builder.insert_element(gathered, element, ir.Constant(INT32, lane))
            index = builder.add(index, args[2])
        return gathered

    return vector(array, types.intp, types.intp, lanes), generate


@intrinsic
def store(context, array, position, vector):
    """array[position : position + lanes] = vector."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], _llvm(vector))
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), generate


@intrinsic(prefer_literal=True)
def fill(context, number, lanes):
    """Vector whose lanes all hold the number."""
    vector = Vector(number, lanes.literal_value)

    def generate(context, builder, signature, args):
        return _broadcast(builder, args[0], _llvm(vector))

    return vector(number, lanes), generate


@intrinsic
def multiply_add(context, a, b, c):
    """a * b + c, rounded once; `b` is a vector or a number."""

    def generate(context, builder, signature, args):
        kind = _llvm(a)
        factor = args[1] if isinstance(b, Vector) else _broadcast(builder, args[1], kind)
        return _call(builder, _name("fma", a), kind, [args[0], factor, args[2]])

    return a(a, b if isinstance(b, Vector) else a.dtype, a), generate


@intrinsic
def add(context, a, b):
    """a + b."""

    def generate(context, builder, signature, args):
        return builder.fadd(args[0], args[1])

    return a(a, a), generate


@intrinsic
def absolute_value(context, a):
    """|a|."""

    def generate(context, builder, signature, args):
        return _call(builder, _name("fabs", a), _llvm(a), args)

    return a(a), generate


@intrinsic
def maximum(context, a, b):
    """Larger one of each lane."""

    def generate(context, builder, signature, args):
        larger = builder.fcmp_ordered(">", args[0], args[1], flags=("nnan", "nsz"))
        return builder.select(larger, args[0], args[1])

    return a(a, a), generate


@intrinsic
def largest(context, a):
    """Largest lane."""

    def generate(context, builder, signature, args):
        element = _llvm(a).element
        name = _name("vector.reduce.fmax", a)
        return _call(builder, name, element, args, fastmath=("nnan", "nsz"))

    return a.dtype(a), generate


@intrinsic
def total(context, a):
    """Sum of the lanes, in a fixed order that the compiler chooses."""

    def generate(context, builder, signature, args):
        element = _llvm(a).element
        name, zero = _name("vector.reduce.fadd", a), ir.Constant(element, 0.0)
        return _call(builder, name, element, [zero, args[0]], fastmath=("reassoc",))

    return a.dtype(a), generate


@intrinsic
def first_equal(context, a, number):
    """First lane equal to the number (the number of lanes if none is), and how many are."""

    def generate(context, builder, signature, args):
        equal = builder.fcmp_ordered("==", args[0], _broadcast(builder, args[1], _llvm(a)))
        bits = builder.bitcast(equal, ir.IntType(a.lanes))
        found = [builder.cttz(bits, ir.Constant(ir.IntType(1), 0)), builder.ctpop(bits)]
        if a.lanes < 64:
            found = [builder.zext(n, INT64) for n in found]
        elif a.lanes > 64:
            found = [builder.trunc(n, INT64) for n in found]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(types.int64, 2)(a, a.dtype), generate


@intrinsic
def replace_lane(context, a, lane, number):
    """The vector with one lane replaced by the number."""

    def generate(context, builder, signature, args):
        kind = ir.VectorType(INT32, a.lanes)
        lanes = ir.Constant(kind, list(range(a.lanes)))
        wanted = _broadcast(builder, builder.trunc(args[1], INT32), kind)
        there = builder.icmp_signed("==", lanes, wanted)
        return builder.select(there, _broadcast(builder, args[2], _llvm(a)), args[0])

    return a(a, types.int64, a.dtype), generate


@intrinsic
def trailing_zeros(context, word):
    """Position of the lowest bit that is set; 64 if none is."""

    def generate(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@intrinsic
def prefetch(context, array, position):
    """Begin to load the cache line of an element; harmless beyond the end of the array."""

    def generate(context, builder, signature, args):
        pointer = _pointer(context, builder, array, args[0], args[1], ir.IntType(8))
        kinds = [pointer.type, INT32, INT32, INT32]
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), kinds), "llvm.prefetch.p0"
        )
        read, into_all_levels, data = (ir.Constant(INT32, n) for n in (0, 3, 1))
        builder.call(function, [pointer, read, into_all_levels, data])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate
