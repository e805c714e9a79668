package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.backend.DType;
import ai.lram.backend.Tensor;
import ai.lram.backend.TensorArena;
import ai.lram.bench.WrongAnswerException;

/**
 * What the device can do at best.
 *
 * @param bytesPerSecond of a copy in device memory, read and written
 * @param flopPerSecond of a large product in bf16
 */
record DeviceCeilings(double bytesPerSecond, double flopPerSecond, int samples) {
    /** 2 GiB in bf16. */
    static final int COPY_ELEMENTS = 1 << 30;

    /** Rows and columns of the factors of the product. */
    static final int SIZE = 8192;

    private static final double TOLERANCE = 0.02;

    /** @param elements copied, at least {@code size} squared */
    static DeviceCeilings measure(Backend engine, int elements, int size, boolean quick) {
        try (TensorArena arena = engine.arena("ceilings");
                Noise a = new Noise(DType.BF16, 1);
                Noise b = new Noise(DType.BF16, 2)) {
            Tensor from = a.fill(engine, arena.allocate(DType.BF16, elements));
            Tensor to = arena.allocate(DType.BF16, elements);
            DeviceTimer.Times copy = DeviceTimer.time(engine, () -> engine.copy(engine.stream(), to, from), 1, quick);
            Tensor x = from.view(0, size, size);
            Tensor w = b.fill(engine, arena.allocate(DType.BF16, size, size));
            Tensor y = to.view(0, size, size);
            Runnable product = () -> engine.ops().mixed().linear(engine.stream(), x, w, null, null, y);
            product.run();
            check(engine, size, a, b, y);
            DeviceTimer.Times times = DeviceTimer.time(engine, product, 1, quick);
            return new DeviceCeilings(
                    2e3 * from.bytes() / copy.medianMs(),
                    2e3 * size * (double) size * size / times.medianMs(),
                    Math.min(copy.samples(), times.samples()));
        }
    }

    private static void check(Backend engine, int size, Noise a, Noise b, Tensor y) {
        int row = size - 1;
        double[] got = Device.read(engine, y.view((long) row * size, size));
        for (int column : new int[] {0, 1, size / 2, size - 1}) {
            double want = 0;
            double squares = 0;
            for (int k = 0; k < size; k++) {
                double term = a.at((long) row * size + k) * b.at((long) column * size + k);
                want += term;
                squares += term * term;
            }
            if (!(Math.abs(got[column] - want) <= TOLERANCE * Math.sqrt(squares))) {
                throw new WrongAnswerException(
                        "the device multiplies wrongly",
                        got[column] + " in place of " + want + " at (" + row + ", " + column + ")",
                        "do not trust this build or device; run lram test");
            }
        }
    }
}
