package ai.lram.backend.cpu;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.backend.ArenaClosedException;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendException;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.DType;
import ai.lram.backend.DeviceOutOfMemoryException;
import ai.lram.backend.NonFiniteException;
import ai.lram.backend.ShapeMismatchException;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import java.lang.foreign.Arena;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class CpuArenaTest {
    private Backend backend;
    private TensorArena root;

    @BeforeEach
    void open() {
        backend = new CpuBackend(BackendOptions.threads(1));
        root = backend.arena("process");
    }

    @AfterEach
    void close() {
        root.close();
        assertEquals(0, root.liveBytes());
        backend.close();
    }

    @Test
    void memoryIsZeroAndAligned() {
        for (int n : new int[] {1, 3, 17, 1000}) {
            Tensor t = root.f32(n);
            assertEquals(0, t.address() % 64);
            assertArrayEquals(new float[n], t.toFloatArray());
        }
    }

    @Test
    void bytesAreCountedThroughTheTree() {
        TensorArena model = root.child("model");
        TensorArena session = model.child("session");
        root.f32(10);
        model.i32(5);
        session.allocate(DType.BF16, 3);
        assertEquals(40 + 20 + 6, root.liveBytes());
        assertEquals(20 + 6, model.liveBytes());
        String dump = root.dump();
        assertTrue(dump.contains("process 40") && dump.contains("  model 20") && dump.contains("    session 6"), dump);
        model.close();
        assertEquals(40, root.liveBytes());
        assertEquals(0, session.liveBytes());
    }

    @Test
    void closingEndsAllChildrenAndMayBeRepeated() {
        TensorArena model = root.child("model");
        TensorArena session = model.child("session");
        Tensor t = session.f32(4);
        model.close();
        model.close();
        assertThrows(ArenaClosedException.class, () -> model.f32(1));
        assertThrows(ArenaClosedException.class, () -> session.child("step"));
        assertThrows(ArenaClosedException.class, () -> t.get(0));
        assertThrows(
                ArenaClosedException.class, () -> backend.ops().elementwise().fill(backend.stream(), 1, t));
    }

    @Test
    void absurdSizesAreRefusedAndNothingIsAllocated() {
        DeviceOutOfMemoryException e = assertThrows(DeviceOutOfMemoryException.class, () -> root.f32(1 << 30, 1 << 12));
        assertEquals(BackendException.Severity.DEGRADE, e.severity());
        assertThrows(ShapeMismatchException.class, () -> root.f32(1 << 30, 1 << 30, 1 << 30));
        assertThrows(ShapeMismatchException.class, () -> root.f32(3, -1));
        assertEquals(0, root.liveBytes());
        assertEquals(2, root.f32(2).size());
    }

    @Test
    void nanAndInfinityAreNamed() {
        Tensor t = root.f32(100);
        backend.requireFinite(backend.stream(), "weights", t);
        for (float bad : new float[] {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY}) {
            t.set(99, bad);
            NonFiniteException e =
                    assertThrows(NonFiniteException.class, () -> backend.requireFinite(backend.stream(), "weights", t));
            assertTrue(e.getMessage().startsWith("weights") && e.getMessage().contains("99"), e.getMessage());
        }
        assertThrows(ShapeMismatchException.class, () -> backend.requireFinite(backend.stream(), "ids", root.i32(3)));
    }

    @Test
    void copiesOfTheWrongSizeAreRefused() {
        Tensor t = root.f32(4);
        try (Arena host = Arena.ofConfined()) {
            assertThrows(ShapeMismatchException.class, () -> backend.upload(backend.stream(), t, host.allocate(12)));
            assertThrows(ShapeMismatchException.class, () -> backend.download(backend.stream(), t, host.allocate(20)));
        }
    }
}
