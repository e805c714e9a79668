package ai.lram.backend;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

class TensorTest {
    private final Arena arena = Arena.ofConfined();

    @AfterEach
    void close() {
        arena.close();
    }

    private Tensor of(int... shape) {
        long n = Tensor.sizeOf(shape);
        Tensor t = Tensor.host(DType.F32, arena.allocate(n * 4), shape);
        for (int i = 0; i < n; i++) {
            t.set(i, i);
        }
        return t;
    }

    @Test
    void shapesAreDescribed() {
        Tensor t = of(2, 3, 4);
        assertEquals(24, t.size());
        assertEquals(96, t.bytes());
        assertEquals(6, t.rows());
        assertEquals(4, t.dim(-1));
        assertEquals("F32[2, 3, 4]", t.toString());
        int[] shape = t.shape();
        shape[0] = 99;
        assertEquals(2, t.dim(0), "the shape is copied out");
    }

    @Test
    void viewsShareMemory() {
        Tensor t = of(4, 3);
        Tensor s = t.slice(1, 2);
        assertArrayEquals(new float[] {3, 4, 5, 6, 7, 8}, s.toFloatArray());
        s.set(0, -1);
        assertEquals(-1, t.get(3));
        assertArrayEquals(new float[] {7, 8}, t.view(7, 2, 1).toFloatArray());
        assertEquals(t.address() + 12, s.address());
        assertEquals(3, t.reshape(3, 4).dim(0));
    }

    @Test
    void whatDoesNotFitIsRefused() {
        Tensor t = of(4, 3);
        assertThrows(ShapeMismatchException.class, () -> t.reshape(5));
        assertThrows(ShapeMismatchException.class, () -> t.slice(3, 2));
        assertThrows(ShapeMismatchException.class, () -> t.slice(-1, 2));
        assertThrows(ShapeMismatchException.class, () -> t.view(11, 2));
        assertThrows(ShapeMismatchException.class, () -> t.view(-1, 2));
        assertThrows(ShapeMismatchException.class, () -> t.copyFrom(new float[11]));
        assertThrows(ShapeMismatchException.class, () -> t.copyFrom(new int[12]));
        assertThrows(ShapeMismatchException.class, () -> Tensor.host(DType.F32, arena.allocate(8), 3));
        assertThrows(
                ShapeMismatchException.class, () -> Tensor.host(DType.F32, MemorySegment.ofArray(new float[3]), 3));
        assertThrows(ShapeMismatchException.class, () -> Tensor.sizeOf(Integer.MAX_VALUE, Integer.MAX_VALUE, 4));
    }

    @Test
    void deviceTensorsHaveNoSegment() {
        Tensor t = Tensor.device(DType.BF16, 4096, () -> true, 2, 5);
        assertFalse(t.isHost());
        assertEquals(4096 + 10, t.slice(1, 1).address());
        ShapeMismatchException e = assertThrows(ShapeMismatchException.class, t::segment);
        assertEquals(BackendException.Severity.RETRY, e.severity());
    }

    @Test
    void aDeviceTensorEndsWithItsOwner() {
        boolean[] alive = {true};
        Tensor t = Tensor.device(DType.F32, 4096, () -> alive[0], 4);
        Tensor view = t.slice(1, 2).reshape(2, 1);
        view.requireAlive();
        alive[0] = false;
        assertThrows(ArenaClosedException.class, view::requireAlive);
    }
}
