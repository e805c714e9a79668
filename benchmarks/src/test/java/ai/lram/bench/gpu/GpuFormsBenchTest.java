package ai.lram.bench.gpu;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.Backends;
import ai.lram.backend.DType;
import ai.lram.backend.Stream;
import ai.lram.backend.Tensor;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.backend.cuda.StepTable;
import ai.lram.backend.ops.StepForm;
import ai.lram.backend.testing.ForwardingBackend;
import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.WrongAnswerException;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GpuFormsBenchTest {
    private static final ModelSize TINY = new ModelSize("TINY", XlstmConfig.mlstm(16, 1, 2));

    @TempDir
    Path temp;

    private static GpuFormsSettings settings(String weights, DType state, Integer... sessions) {
        return new GpuFormsSettings(List.of(TINY), LramSubject.weights(weights), state, List.of(sessions), 20, 10);
    }

    private Optional<GpuFormsSettings.Table> table(Path file) {
        return Optional.of(new GpuFormsSettings.Table(file, "lram bench of a test"));
    }

    private static Map<String, Result> byName(Run run) {
        return run.results().stream().collect(Collectors.toMap(Result::caseName, Function.identity()));
    }

    @Test
    void theFastestFormOfEachNumberOfSessionsGoesIntoTheTable() throws IOException {
        Run run = new Run(what -> {});
        Path file = temp.resolve("new/forms.tsv");
        new GpuFormsBench(settings("bf16", DType.F32, 9, 1), table(file), true).measure(run, EmulatedCuda::open, 1e12);
        Map<String, Result> results = byName(run);
        StepTable.Size size = new StepTable.Size(16, 64, 2, DType.BF16, DType.F32);
        List<StepTable.Entry> entries = new ArrayList<>();
        for (int sessions : new int[] {1, 9}) {
            String name = "form-tiny-b" + sessions + "-";
            assertFalse(results.containsKey(name + "resident"), "the emulator has no cooperative launches");
            assertTrue(
                    run.notes().stream().anyMatch(n -> n.startsWith(name + "resident not measured: ")),
                    run.notes().toString());
            StepForm fastest = null;
            for (StepForm form : List.of(StepForm.PHASES, StepForm.MANY, StepForm.PLAIN)) {
                Result r = results.get(name + form);
                double others = List.of(StepForm.PHASES, StepForm.MANY, StepForm.PLAIN).stream()
                        .filter(f -> f != form)
                        .mapToDouble(f -> results.get(name + f).value())
                        .min()
                        .orElseThrow();
                assertEquals("gpu-step", r.bench());
                assertEquals("ms", r.unit());
                assertEquals(20, r.samples());
                assertEquals(others, r.peer());
                assertTrue(r.floor() > 0 && r.value() > r.floor(), r.toString());
                fastest = r.value() < others || fastest == null && r.value() == others ? form : fastest;
            }
            entries.add(new StepTable.Entry("Emulated GPU", size, sessions, fastest));
        }
        assertEquals(new StepTable(entries), StepTable.read(file));
        String text = Files.readString(file);
        assertTrue(text.contains("# Written by: lram bench of a test\n"), text);
        assertTrue(text.contains("# TINY, 9 sessions, median ms: phases "), text);
    }

    /** The only one for narrow weights with a narrow state. */
    @Test
    void aFormWithoutOthersHasNoPeerAndIsTheFastest() {
        Run run = new Run(what -> {});
        Path file = temp.resolve("forms.tsv");
        new GpuFormsBench(settings("int8", DType.BF16, 2), table(file), true).measure(run, EmulatedCuda::open, 1e12);
        assertEquals(List.of("form-tiny-b2-plain"), names(run));
        assertTrue(Double.isNaN(run.results().getFirst().peer()));
        assertEquals(StepForm.PLAIN, StepTable.read(file).entries().getFirst().form());
    }

    /** Downloads something else than its device has. */
    private record Wrong(Backend engine) implements ForwardingBackend {
        @Override
        public void download(Stream s, Tensor src, MemorySegment dst) {
            engine.download(s, src, dst);
            s.synchronize();
            dst.set(ValueLayout.JAVA_FLOAT, 0, dst.get(ValueLayout.JAVA_FLOAT, 0) + 1);
        }
    }

    @Test
    void aFormWithWrongAnswersLeavesNoTable() throws IOException {
        Run run = new Run(what -> {});
        Path file = Files.writeString(temp.resolve("forms.tsv"), "of before");
        GpuFormsBench bench = new GpuFormsBench(settings("bf16", DType.F32, 1), table(file), true);
        Function<StepForm, Backend> engines =
                form -> form == StepForm.MANY ? new Wrong(EmulatedCuda.open(form)) : EmulatedCuda.open(form);
        WrongAnswerException e = assertThrows(WrongAnswerException.class, () -> bench.measure(run, engines, 1e12));
        assertTrue(e.getMessage().contains("TINY bf16"), e.getMessage());
        assertEquals("of before", Files.readString(file));
    }

    private static List<String> names(Run run) {
        return run.results().stream()
                .map(Result::caseName)
                .filter(n -> !n.endsWith("-max"))
                .toList();
    }

    @Test
    void withoutAGpuNothingIsMeasured() {
        assumeTrue(
                Backends.providers().stream()
                        .noneMatch(p ->
                                p.name().equals("cuda") && p.whyUnavailable().isEmpty()),
                "skipped: this machine has a GPU");
        Run run = new Run(what -> {});
        Path file = temp.resolve("forms.tsv");
        GpuFormsBench bench = new GpuFormsBench(settings("fp32", DType.F32, 1), table(file), true);
        assertThrows(BenchException.class, () -> bench.run(run));
        assertTrue(run.results().isEmpty());
        assertFalse(Files.exists(file));
    }

    @Test
    void theUsualOnesAreThoseOfTheDesign() {
        LramSubject.Weights bf16 = LramSubject.weights("bf16");
        GpuFormsSettings usual =
                GpuFormsSettings.of(List.of("16M", "16m", "48M"), bf16, DType.F32, List.of(), Optional.empty(), false);
        assertEquals(List.of(1, 2, 4, 8, 16, 64, 256), usual.sessions());
        assertEquals(
                List.of("16M", "48M"),
                usual.sizes().stream().map(ModelSize::name).toList());
        GpuFormsSettings quick = GpuFormsSettings.of(List.of("16M"), bf16, DType.F32, List.of(), Optional.of(7), true);
        assertTrue(quick.sessions().size() < usual.sessions().size());
        assertEquals(7, quick.steps());
        for (List<Integer> sessions : List.of(List.of(0), List.of(1, 5000))) {
            assertThrows(
                    BenchException.class,
                    () -> GpuFormsSettings.of(List.of("16M"), bf16, DType.F32, sessions, Optional.empty(), true));
        }
    }
}
