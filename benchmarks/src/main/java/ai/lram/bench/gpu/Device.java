package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Values from the device. */
final class Device {
    private Device() {}

    /** Elements of an F32 or BF16 tensor; waits for the stream. */
    static double[] read(Backend engine, Tensor t) {
        double[] values = new double[Math.toIntExact(t.size())];
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment m = arena.allocate(t.bytes(), 64);
            engine.download(engine.stream(), t, m);
            engine.stream().synchronize();
            for (int i = 0; i < values.length; i++) {
                values[i] = t.dtype() == DType.BF16
                        ? Float.intBitsToFloat(m.getAtIndex(ValueLayout.JAVA_SHORT, i) << 16)
                        : m.getAtIndex(ValueLayout.JAVA_FLOAT, i);
            }
        }
        return values;
    }
}
