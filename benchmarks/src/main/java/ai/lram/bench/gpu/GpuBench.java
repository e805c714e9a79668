package ai.lram.bench.gpu;

import ai.lram.backend.Backend;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Better;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** Kernels and training steps on an NVIDIA GPU, through the engine: checked, then timed as recorded replays. */
public final class GpuBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "gpu";

    private final List<GpuCase> cases;
    private final boolean quick;

    /** @param quick fewer samples */
    public GpuBench(List<GpuCase> cases, boolean quick) {
        this.cases = List.copyOf(cases);
        this.quick = quick;
    }

    /** Everything there is to measure on a GPU. */
    public static List<GpuCase> usual() {
        List<GpuCase> all = new ArrayList<>();
        all.addAll(MlstmCase.usual());
        all.addAll(SlstmCase.usual());
        all.addAll(TrainCase.usual());
        all.add(TrainerCase.usual());
        return all;
    }

    /** In one sentence, for lists. */
    public static String purpose() {
        return "an NVIDIA GPU: kernels and training steps, checked, beside copy, product and published times";
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return purpose();
    }

    @Override
    public void run(Run run) {
        require();
        try (Backend engine = GpuEngine.open()) {
            run.progress("copy and product");
            DeviceCeilings ceilings =
                    DeviceCeilings.measure(engine, DeviceCeilings.COPY_ELEMENTS, DeviceCeilings.SIZE, quick);
            run.result(
                    Result.of(NAME, "copy", ceilings.bytesPerSecond() / 1e12, "TB/s", Better.HIGHER, ceilings.samples())
                            .withNote("2 GiB on the device, bytes read and written"));
            run.result(Result.of(
                            NAME,
                            "matmul-bf16",
                            ceilings.flopPerSecond() / 1e12,
                            "TFLOP/s",
                            Better.HIGHER,
                            ceilings.samples())
                    .withNote("8192 x 8192 x 8192, random numbers, fp32 sums"));
            GpuRun gpu = new GpuRun(run, engine, ceilings, quick);
            for (GpuCase c : cases) {
                run.progress(c.name());
                c.measure(gpu);
            }
            gpu.tables().forEach(run::table);
            run.note(engine.describe());
            run.note(String.format(
                    Locale.ROOT,
                    "floor: the inputs read and the outputs written once at %.2f TB/s, or the multiply-adds at %.0f TFLOP/s, whichever takes"
                            + " longer; published: %s; training: %s",
                    ceilings.bytesPerSecond() / 1e12,
                    ceilings.flopPerSecond() / 1e12,
                    MlstmCase.PUBLISHED,
                    TrainCase.PUBLISHED));
        }
    }

    /** A GPU that the engine can use. */
    @Override
    public void require() {
        GpuEngine.require();
    }
}
