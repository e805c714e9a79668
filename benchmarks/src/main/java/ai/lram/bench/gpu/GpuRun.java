package ai.lram.bench.gpu;

import ai.lram.agent.autodiff.Plan;
import ai.lram.backend.Backend;
import ai.lram.bench.Better;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/** Where cases report to, and what they measure with. */
public final class GpuRun {
    private static final double GIGA = 1e9;

    private final Run run;
    private final Backend engine;
    private final DeviceCeilings ceilings;
    private final boolean quick;
    private final List<List<String>> rows = new ArrayList<>();
    private final List<List<String>> kernels = new ArrayList<>();

    GpuRun(Run run, Backend engine, DeviceCeilings ceilings, boolean quick) {
        this.run = run;
        this.engine = engine;
        this.ceilings = ceilings;
        this.quick = quick;
    }

    /** Open as long as the run. */
    public Backend engine() {
        return engine;
    }

    /** Whether seconds matter more than the spread. */
    public boolean quick() {
        return quick;
    }

    /** Says what is being measured now. */
    public void progress(String what) {
        run.progress(what);
    }

    /**
     * What cannot be avoided.
     *
     * @param bytes inputs and outputs once
     * @param flop additions and multiplications
     */
    public record Work(double bytes, double flop) {
        /** Both done. */
        public Work and(Work other) {
            return new Work(bytes + other.bytes, flop + other.flop);
        }
    }

    /** Milliseconds that {@code work} takes at the least on this device. */
    public double floorMs(Work work) {
        return 1e3 * Math.max(work.bytes / ceilings.bytesPerSecond(), work.flop / ceilings.flopPerSecond());
    }

    /**
     * Reports a time with what it means in bytes/s and FLOP/s.
     *
     * @param floorMs from {@link #floorMs}, of the parts where work has parts that follow each other
     * @param publishedMs NaN if nobody has published one
     */
    public void time(String name, DeviceTimer.Times t, Work work, double floorMs, double publishedMs, String note) {
        run.result(Result.of(GpuBench.NAME, name, t.medianMs(), "ms", Better.LOWER, t.samples())
                .withFloor(floorMs)
                .withPeer(publishedMs)
                .withSpread(t.lowMs(), t.highMs())
                .withNote(note));
        achieved(name, t, work, floorMs, publishedMs);
    }

    private void achieved(String name, DeviceTimer.Times t, Work work, double floorMs, double publishedMs) {
        double terabytes = work.bytes / t.medianMs() / GIGA;
        double teraflop = work.flop / t.medianMs() / GIGA;
        run.detail(Result.of(GpuBench.NAME, name + "-bandwidth", terabytes, "TB/s", Better.HIGHER, t.samples())
                .withFloor(ceilings.bytesPerSecond() / 1e12));
        run.detail(Result.of(GpuBench.NAME, name + "-flop", teraflop, "TFLOP/s", Better.HIGHER, t.samples())
                .withFloor(ceilings.flopPerSecond() / 1e12));
        rows.add(List.of(
                name,
                number("%.3f ms", t.medianMs()),
                number("%.2f ms", publishedMs),
                number("%.3f ms", floorMs),
                number("%.2f", t.medianMs() / floorMs),
                number("%.2f", terabytes),
                number("%.0f", teraflop)));
    }

    /**
     * Reports how much is done in a second, with what it means in bytes/s and FLOP/s.
     *
     * @param t of all {@code units} together
     * @param published units a second, NaN if nobody has published it
     */
    public void rate(
            String name, DeviceTimer.Times t, double units, String unit, Work work, double published, String note) {
        double floorMs = floorMs(work);
        double perMs = 1e3 * units;
        run.result(Result.of(GpuBench.NAME, name, perMs / t.medianMs(), unit, Better.HIGHER, t.samples())
                .withFloor(perMs / floorMs)
                .withPeer(published)
                .withSpread(perMs / t.highMs(), perMs / t.lowMs())
                .withNote(note));
        achieved(name, t, work, floorMs, perMs / published);
    }

    /** Reports where the time of a recorded pass goes, every kind of kernel replayed alone. */
    public void kernels(String name, List<Plan.KernelTime> times) {
        for (Plan.KernelTime k : times) {
            double ms = 1e3 * k.seconds();
            double terabytes = k.valueBytes() / k.seconds() / 1e12;
            run.detail(Result.of(
                    GpuBench.NAME, name + "-ms-" + k.kernel().replace(' ', '-'), ms, "ms", Better.LOWER, k.calls()));
            kernels.add(List.of(
                    name,
                    k.kernel(),
                    String.valueOf(k.calls()),
                    number("%.3f", ms),
                    number("%.1f", 1e3 * ms / k.calls()),
                    number("%.2f", terabytes)));
        }
    }

    /**
     * Reports device memory.
     *
     * @param floorBytes what inputs and outputs alone take
     * @param publishedBytes NaN if nobody has published it
     */
    public void memory(String name, double bytes, double floorBytes, double publishedBytes, String note) {
        run.result(Result.of(GpuBench.NAME, name, bytes / GIGA, "GB", Better.LOWER, 1)
                .withFloor(floorBytes / GIGA)
                .withPeer(publishedBytes / GIGA)
                .withNote(note));
        rows.add(List.of(
                name,
                number("%.2f GB", bytes / GIGA),
                number("%.2f GB", publishedBytes / GIGA),
                number("%.2f GB", floorBytes / GIGA),
                number("%.2f", bytes / floorBytes),
                "",
                ""));
    }

    /**
     * Reports what device memory should take, beside what it takes.
     *
     * @param formula bytes
     * @param measured bytes
     * @param parts a format for those that follow, in GB
     */
    public void formula(String name, double formula, double measured, String parts, double... bytes) {
        Object[] giga = Arrays.stream(bytes).mapToObj(b -> b / GIGA).toArray();
        run.result(Result.of(GpuBench.NAME, name, formula / GIGA, "GB", Better.LOWER, 1)
                .withNote(String.format(Locale.ROOT, parts, giga)
                        + String.format(
                                Locale.ROOT,
                                "; arenas hold %.3f GB, %.4f of it",
                                measured / GIGA,
                                measured / formula)));
    }

    private static String number(String format, double value) {
        return Double.isFinite(value) ? String.format(Locale.ROOT, format, value) : "";
    }

    List<Run.Table> tables() {
        List<Run.Table> tables = new ArrayList<>();
        tables.add(new Run.Table(
                GpuBench.NAME,
                "work on the device, in bf16 but for slstm",
                List.of("work", "ours", "published", "floor", "ratio", "TB/s", "TFLOP/s"),
                rows));
        if (!kernels.isEmpty()) {
            tables.add(new Run.Table(
                    GpuBench.NAME,
                    "where a step's time goes, every kind of kernel alone",
                    List.of("work", "kernel", "calls", "ms", "us each", "TB/s of its values"),
                    kernels));
        }
        return tables;
    }
}
