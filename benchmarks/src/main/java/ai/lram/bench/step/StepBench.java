package ai.lram.bench.step;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.export.OnnxOptions;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.bench.Benchmark;
import ai.lram.bench.Distribution;
import ai.lram.bench.Latencies;
import ai.lram.bench.Memory;
import ai.lram.bench.Run;
import ai.lram.bench.TemporaryFolder;
import ai.lram.bench.machine.Ceilings;
import ai.lram.bench.step.StepSettings.Single;
import ai.lram.bench.subject.ExportedModel;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.OrtLibrary;
import ai.lram.bench.subject.OrtSubject;
import ai.lram.bench.subject.Shapes;
import ai.lram.bench.subject.Subject;
import ai.lram.bench.subject.TransformerSubject;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * The control step of one session: 204 observations in, one action dimension out, three tokens through the whole model. Cases are named
 * {@code step-SIZE-WEIGHTS-Nt} for the steady state, with {@code -ctxC} for the steps after a context of C;
 * {@code step-SIZE-WEIGHTS-Ksessions-Nt} for K sessions in one step; {@code ort-SIZE-WEIGHTS-Nt} for the same model in ONNX Runtime;
 * {@code dt-SIZE-ctxC-Nt} for a decision transformer; {@code noise-CASE} for work on registers as long as a case.
 */
public final class StepBench implements Benchmark {
    /** Its name in results. */
    public static final String NAME = "step";

    private static final int OBSERVATIONS = 204;
    static final int REPETITIONS = 5;
    /** Of the weights while ONNX Runtime loads them: the file, what it reads of it, and what it packs anew. */
    private static final int ORT_COPIES = 3;

    private static final List<OnnxOptions.Weights> FORMATS = List.of(OnnxOptions.Weights.values());
    private static final String ORT_NOTE =
            "the same model and inputs in ONNX Runtime, the 3 tokens as one call, tensors made once; floor: weights read once, state read"
                    + " and written once";

    private final StepSettings settings;
    private final boolean quick;
    private final Supplier<Optional<String>> whyNoOnnxRuntime;
    private final ModelCard card = Shapes.card(Shapes.vector("step", OBSERVATIONS, 1, 100));

    public StepBench(StepSettings settings, boolean quick) {
        this(settings, quick, OrtLibrary::whyUnavailable);
    }

    StepBench(StepSettings settings, boolean quick, Supplier<Optional<String>> whyNoOnnxRuntime) {
        this.settings = settings;
        this.quick = quick;
        this.whyNoOnnxRuntime = whyNoOnnxRuntime;
    }

    @Override
    public String name() {
        return NAME;
    }

    @Override
    public String measures() {
        return "the CPU control step beside ONNX Runtime and a transformer: percentiles, contexts, batches of sessions, garbage, share of the memory bandwidth";
    }

    @Override
    public void require() {
        for (ModelSize size : settings.sizes()) {
            for (LramSubject.Weights weights : settings.weights()) {
                Memory.require(
                        "size " + size.name() + " with " + settings.sessions() + " sessions",
                        withFloor(LramSubject.bytes(size, weights, card, settings.sessions())));
            }
            if (!settings.peers().transformerContexts().isEmpty()) {
                int longest = settings.peers().transformerContexts().getLast();
                Memory.require(
                        "a decision transformer of size " + size.name() + " with " + longest + " steps of context",
                        withFloor(TransformerSubject.bytes(size, card, longest)));
            }
            if (settings.peers().onnxRuntime()) {
                Memory.require(
                        "size " + size.name() + " in ONNX Runtime",
                        ORT_COPIES * ExportedModel.fileBytes(size, card, List.of(OnnxOptions.Weights.FP32)));
                TemporaryFolder.requireSpace(
                        "the ONNX files of size " + size.name(), ExportedModel.fileBytes(size, card, FORMATS));
            }
        }
    }

    /** With the memory that is read to measure the floor of a step, which a step itself reads at most. */
    private static long withFloor(long bytes) {
        return bytes + Ceilings.readingBytes(bytes);
    }

    @Override
    public void run(Run run) {
        require();
        run.note(
                "Control steps are measured with drawn weights, 204 observations and one action dimension (a head of 274 logits);"
                        + " the time of a step does not depend on what the weights are.");
        boolean onnxRuntime = settings.peers().onnxRuntime() && onnxRuntimeLoads(run);
        for (ModelSize size : settings.sizes()) {
            try (ExportedModel exported = onnxRuntime ? exported(run, size) : null) {
                for (int threads : settings.threads()) {
                    measure(run, size, threads, exported);
                }
            }
        }
        for (Single single : settings.singles()) {
            if (!measuredAnyway(single)) {
                single(run, single);
            }
        }
    }

    private boolean measuredAnyway(Single s) {
        return settings.sizes().contains(s.size())
                && settings.weights().contains(s.weights())
                && settings.threads().contains(s.threads());
    }

    private boolean onnxRuntimeLoads(Run run) {
        Optional<String> why = whyNoOnnxRuntime.get();
        why.ifPresent(reason -> {
            List<String> cases = new ArrayList<>();
            for (ModelSize size : settings.sizes()) {
                for (OnnxOptions.Weights format : FORMATS) {
                    settings.threads().forEach(threads -> cases.add(ortCase(size, format, threads)));
                }
            }
            run.note(String.join(", ", cases) + ": not measured: " + reason);
        });
        return why.isEmpty();
    }

    private static String ortCase(ModelSize size, OnnxOptions.Weights format, int threads) {
        return "ort-" + size.key() + "-" + ExportedModel.key(format) + "-" + threads + "t";
    }

    private ExportedModel exported(Run run, ModelSize size) {
        run.progress("export " + size.name() + " to ONNX");
        return ExportedModel.write(size, card, FORMATS);
    }

    /** @param exported null for no ONNX Runtime */
    private void measure(Run run, ModelSize size, int threads, ExportedModel exported) {
        PeerTimes peers = new PeerTimes();
        if (!settings.peers().transformerContexts().isEmpty()) {
            transformer(run, size, threads, peers);
        }
        if (exported != null) {
            for (OnnxOptions.Weights format : FORMATS) {
                onnxRuntime(run, exported, size, format, threads, peers);
            }
        }
        for (LramSubject.Weights weights : settings.weights()) {
            String base = "step-" + size.key() + "-" + weights.name();
            int[] contexts =
                    settings.contexts().stream().mapToInt(Integer::intValue).toArray();
            try (Backend backend = Backends.open("cpu", BackendOptions.threads(threads));
                    Subject subject = LramSubject.open(backend, size, weights, card, settings.sessions())) {
                Stepping ours = stepping(run, subject, base + "-" + threads + "t", threads);
                ours.checkAndWarm(settings.warmUpSeconds());
                Course.run(ours, contexts, settings.samples(), settings.garbageSteps(), peers, weights.name(), "");
                if (settings.sessions() > 1) {
                    batched(stepping(
                            run, subject, base + "-" + settings.sessions() + "sessions-" + threads + "t", threads));
                }
            }
        }
    }

    private Stepping stepping(Run run, Subject subject, String name, int threads) {
        return new Stepping(run, subject, name, threads, quick);
    }

    private void single(Run run, Single single) {
        String name = "step-" + single.size().key() + "-" + single.weights().name() + "-" + single.threads() + "t";
        Optional<String> lack = Memory.lack(withFloor(LramSubject.bytes(single.size(), single.weights(), card, 1)));
        if (lack.isPresent()) {
            run.note(name + ": not measured: " + lack.get() + " of memory");
            return;
        }
        int[] context = {Math.min(Course.STEADY_FROM, settings.contexts().getLast())};
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(single.threads()));
                Subject subject = LramSubject.open(backend, single.size(), single.weights(), card, 1)) {
            Stepping ours = stepping(run, subject, name, single.threads());
            ours.checkAndWarm(settings.warmUpSeconds());
            Course.run(
                    ours,
                    context,
                    settings.samples(),
                    0,
                    new PeerTimes(),
                    single.weights().name(),
                    single.note());
        }
    }

    private void transformer(Run run, ModelSize size, int threads, PeerTimes peers) {
        String name = "dt-" + size.key();
        List<Integer> contexts = settings.peers().transformerContexts();
        try (Backend backend = Backends.open("cpu", BackendOptions.threads(threads));
                Subject subject = TransformerSubject.open(backend, size, card, contexts.getLast())) {
            stepping(run, subject, name + "-" + threads + "t", threads).checkAndWarm(settings.warmUpSeconds());
            for (int context : contexts) {
                Stepping theirs = stepping(run, subject, name + "-ctx" + context + "-" + threads + "t", threads);
                run.progress(theirs.name());
                subject.begin(1, context);
                Latencies latencies = theirs.steps(settings.samples());
                peers.transformer(context, latencies);
                run.distribution(
                        new Distribution(NAME, theirs.name(), latencies),
                        theirs.floorMs(1, context),
                        Optional.empty(),
                        "");
            }
        }
    }

    private void onnxRuntime(
            Run run, ExportedModel exported, ModelSize size, OnnxOptions.Weights format, int threads, PeerTimes peers) {
        try (Subject subject = OrtSubject.open(exported, format, threads)) {
            Stepping theirs = stepping(run, subject, ortCase(size, format, threads), threads);
            double difference = theirs.checkAndWarm(settings.warmUpSeconds());
            run.progress(theirs.name());
            subject.begin(1, 0);
            Latencies latencies = theirs.steps(settings.samples());
            peers.onnxRuntime(format, latencies);
            run.distribution(
                    new Distribution(NAME, theirs.name(), latencies),
                    theirs.floorMs(1, 0),
                    Optional.empty(),
                    String.format(
                            Locale.ROOT,
                            "%s; its logits differ from our fp32 step's by at most %.1e of the largest",
                            ORT_NOTE,
                            difference));
        }
    }

    private void batched(Stepping ours) {
        int sessions = settings.sessions();
        int context = Math.min(100, settings.contexts().getLast());
        ours.run().progress(ours.name());
        ours.subject().begin(sessions, context);
        Latencies latencies = ours.steps(Math.max(1, settings.samples() / 4));
        ours.run()
                .distribution(
                        new Distribution(NAME, ours.name(), latencies),
                        ours.floorMs(sessions, context),
                        Optional.empty(),
                        String.format(
                                Locale.ROOT,
                                "%d sessions in one step from context %d on: %.3f ms a session",
                                sessions,
                                context,
                                latencies.ms(50) / sessions));
    }
}
