package ai.lram.bench.gpu;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.UnsupportedKernelException;
import ai.lram.backend.cuda.StepTable;
import ai.lram.backend.ops.StepForm;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Run;
import ai.lram.bench.report.JsonReport;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.SequencedMap;
import java.util.TreeMap;
import java.util.function.Function;

/**
 * The control step on an NVIDIA GPU with its mLSTM blocks in each {@link StepForm}: every form is held against the CPU engine's answers up to
 * the second folds, then timed from there on. Cases are named {@code form-SIZE-bK-FORM} for K sessions in one step; the peer of each is the
 * fastest of the others. The fastest ones are a {@link StepTable}.
 */
public final class GpuFormsBench implements Benchmark {
    private static final int ENOUGH = 10;

    /** Of device memory, beside what a subject takes by its formula: the engine's, code, and what alignment adds. */
    private static final long RESERVE = 1L << 30;

    private final GpuFormsSettings settings;
    private final Optional<GpuFormsSettings.Table> table;
    private final boolean quick;
    private final ModelCard card = Shapes.card(Shapes.vector("step", GpuStepBench.OBSERVATIONS, 1, 100));

    /**
     * @param table where the fastest forms go, unless an answer is wrong
     * @param quick less time for what floors are measured with
     */
    public GpuFormsBench(GpuFormsSettings settings, Optional<GpuFormsSettings.Table> table, boolean quick) {
        this.settings = settings;
        this.table = table;
        this.quick = quick;
    }

    @Override
    public String name() {
        return GpuStepBench.NAME;
    }

    @Override
    public String measures() {
        return "the control step on an NVIDIA GPU in each form of its mLSTM blocks, for a table of the fastest";
    }

    /** A GPU that the engine can use. */
    @Override
    public void require() {
        GpuEngine.require();
    }

    @Override
    public void run(Run run) {
        require();
        double bytesPerSecond;
        try (Backend engine = GpuEngine.open()) {
            bytesPerSecond = GpuStepBench.copy(run, engine, quick);
        }
        measure(run, GpuEngine::open, bytesPerSecond);
    }

    /**
     * @param engines opens one that takes a form alone; it is closed here
     * @param bytesPerSecond of a copy in device memory, read and written
     */
    void measure(Run run, Function<StepForm, Backend> engines, double bytesPerSecond) {
        List<String> comments = new ArrayList<>();
        List<StepTable.Entry> entries = new ArrayList<>();
        for (ModelSize size : settings.sizes()) {
            new OfSize(run, engines, bytesPerSecond, size).measure(comments, entries);
        }
        table.ifPresent(t -> {
            comments.addFirst("Written by: " + t.command());
            comments.addFirst("The fastest form of the mLSTM blocks of a control step, by device, sizes and number of"
                    + " sessions; from it up to those of the next line.");
            JsonReport.writeText(t.file(), new StepTable(entries).text(comments));
        });
    }

    /** One size. */
    private final class OfSize {
        private final Run run;
        private final Function<StepForm, Backend> engines;
        private final double bytesPerSecond;
        private final ModelSize size;
        private final int checked;
        private final SequencedMap<Integer, Map<StepForm, Latencies>> times = new TreeMap<>();
        private final Map<Integer, Double> bytes = new TreeMap<>();
        private String device;

        OfSize(Run run, Function<StepForm, Backend> engines, double bytesPerSecond, ModelSize size) {
            this.run = run;
            this.engines = engines;
            this.bytesPerSecond = bytesPerSecond;
            this.size = size;
            checked = LramSubject.checkedSteps(size.backbone());
        }

        private String name(int sessions) {
            return "form-" + size.key() + "-b" + sessions;
        }

        void measure(List<String> comments, List<StepTable.Entry> entries) {
            Map<Integer, LramSubject.Answers> wanted = wanted();
            for (StepForm form : StepForm.values()) {
                times(form, wanted);
            }
            times.forEach((sessions, forms) -> report(sessions, forms, comments, entries));
        }

        private Map<Integer, LramSubject.Answers> wanted() {
            run.progress("form-" + size.key() + " on the CPU");
            Map<Integer, LramSubject.Answers> all = new TreeMap<>();
            try (Backend cpu = Backends.open("cpu", BackendOptions.defaults());
                    LramSubject subject = LramSubject.open(cpu, size, settings.weights(), card, 2)) {
                settings.sessions().forEach(n -> all.put(n, subject.answers(n, checked)));
            }
            return all;
        }

        private void times(StepForm form, Map<Integer, LramSubject.Answers> wanted) {
            try (Backend engine = engines.apply(form)) {
                List<Integer> fitting = fitting(engine);
                if (fitting.isEmpty()) {
                    return;
                }
                try (LramSubject ours =
                        LramSubject.open(engine, size, settings.weights(), settings.state(), card, fitting.getLast())) {
                    for (int sessions : fitting) {
                        times(ours, form, wanted.get(sessions));
                    }
                }
                device = StepTable.device(engine);
                run.note(engine.describe());
            }
        }

        private List<Integer> fitting(Backend engine) {
            long free = engine.freeBytes().orElse(Long.MAX_VALUE) - RESERVE;
            List<Integer> fitting = new ArrayList<>();
            for (int sessions : settings.sessions()) {
                long needed =
                        LramSubject.deviceBytes(engine, size, settings.weights(), settings.state(), card, sessions);
                if (needed <= free) {
                    fitting.add(sessions);
                } else {
                    run.note(name(sessions) + " not measured: it takes " + (needed >> 20)
                            + " MiB, more than the device has free");
                }
            }
            return fitting;
        }

        private void times(LramSubject ours, StepForm form, LramSubject.Answers wanted) {
            int sessions = wanted.sessions();
            String name = name(sessions) + "-" + form;
            run.progress(name);
            try {
                ours.check(wanted, GpuStepBench.tolerance(settings.weights(), settings.state()));
            } catch (UnsupportedKernelException e) {
                run.note(name + " not measured: " + e.getMessage());
                return;
            }
            Latencies latencies = new Latencies(settings.steps(), GpuStepBench.REPETITIONS);
            long end = System.nanoTime() + (long) (1e9 * settings.longestSeconds());
            while (latencies.count() < settings.steps() && (latencies.count() < ENOUGH || System.nanoTime() < end)) {
                latencies.record(ours.stepNs(name));
            }
            times.computeIfAbsent(sessions, n -> new EnumMap<>(StepForm.class)).put(form, latencies);
            bytes.put(sessions, ours.stepBytes(sessions, checked));
        }

        private void report(
                int sessions, Map<StepForm, Latencies> forms, List<String> comments, List<StepTable.Entry> entries) {
            List<String> each = new ArrayList<>();
            forms.forEach((form, latencies) -> {
                double others = forms.entrySet().stream()
                        .filter(e -> e.getKey() != form)
                        .mapToDouble(e -> e.getValue().ms(50))
                        .min()
                        .orElse(Double.NaN);
                run.distribution(
                        new Distribution(GpuStepBench.NAME, name(sessions) + "-" + form, latencies),
                        1e3 * bytes.get(sessions) / bytesPerSecond,
                        others,
                        settings.weights().name() + " weights, " + settings.state() + " state, after " + checked
                                + " steps; peer: the fastest of the other forms; " + GpuStepBench.FLOOR);
                each.add(String.format(Locale.ROOT, "%s %.4f", form, latencies.ms(50)));
            });
            StepForm fastest = forms.entrySet().stream()
                    .min(Comparator.comparingDouble(e -> e.getValue().ms(50)))
                    .orElseThrow()
                    .getKey();
            XlstmConfig b = size.backbone();
            StepTable.Size key = new StepTable.Size(
                    b.width(), b.inner(), b.heads(), settings.weights().type(), settings.state());
            entries.add(new StepTable.Entry(device, key, sessions, fastest));
            comments.add(size.name() + ", " + sessions + (sessions == 1 ? " session" : " sessions") + ", median ms: "
                    + String.join(", ", each));
        }
    }
}
