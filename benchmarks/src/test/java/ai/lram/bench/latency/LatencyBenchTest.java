package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.BackendProvider;
import ai.lram.backend.Backends;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.bench.subject.DrawnPolicy;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.bridge.env.EnvironmentRegistry;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LatencyBenchTest {
    private static List<Target> targets(String... names) {
        return Domain.named(List.of(names)).stream()
                .map(d -> d.target(ModelSize.of("1M"), LramSubject.WEIGHTS.getFirst(), 1, "cpu"))
                .toList();
    }

    @Test
    void everyWayAndPartIsReportedWithAVerdict() {
        Run run = new Run(what -> {});
        new LatencyBench(new LatencySettings(
                        targets("metaworld", "atari", "pendulum"),
                        List.of(Transport.values()),
                        List.of(2, 5),
                        List.of(1, 2),
                        200,
                        0.05,
                        0.01,
                        "CUDA was refused"))
                .run(run);
        List<String> names = run.results().stream().map(Result::caseName).toList();
        for (String target : List.of("metaworld-1m", "atari-1m", "pendulum-1m")) {
            for (String kind : List.of("-ctx2-1s-local", "-ctx5-2s-tcp", "-ctx5-1s-unix")) {
                for (String suffix : List.of(
                        "",
                        "-max",
                        "-late",
                        "-verdict",
                        "-wake",
                        "-queue",
                        "-encode",
                        "-step",
                        "-return",
                        "-wire-p99")) {
                    assertTrue(names.contains(target + kind + suffix), target + kind + suffix + " in " + names);
                }
            }
        }
        for (String target : List.of("metaworld-1m", "atari-1m", "pendulum-1m")) {
            for (String name : List.of(target + "-first-step", target + "-first-step-policy")) {
                Result first = run.results().stream()
                        .filter(r -> r.caseName().equals(name))
                        .findFirst()
                        .orElseThrow();
                assertTrue(first.value() > 0 && first.unit().equals("x"), first.toString());
            }
        }
        assertTrue(run.notes().contains("CUDA was refused"), run.notes().toString());
        for (Result r : run.results()) {
            assertTrue(r.value() >= 0 && Double.isFinite(r.value()), r.toString());
        }
        Result headline = run.headlines().getFirst();
        assertTrue(headline.note().contains("200 Hz"), headline.note());
        assertEquals(3 * 3 * 2 * 2, run.tables().getFirst().rows().size());
        assertTrue(
                run.notes().getFirst().contains("does not wait for late steps"),
                run.notes().toString());
    }

    private static Target tiny(String engine) {
        ModelSize size = new ModelSize("TINY", XlstmConfig.mlstm(16, 1, 2));
        Domain domain = Domain.named(List.of("metaworld")).getFirst();
        ModelCard card = Shapes.card(domain.task());
        return new Target(
                "metaworld-tiny",
                engine,
                domain.task(),
                Optional.empty(),
                (on, sessions) -> DrawnPolicy.open(
                        on.equals("cuda") ? EmulatedCuda.open() : Backends.open(on, BackendOptions.threads(1)),
                        size,
                        LramSubject.WEIGHTS.getFirst(),
                        card,
                        sessions),
                sessions -> 1L << 20);
    }

    @Test
    void enginesStandSideBySide() {
        EmulatedCuda.open().close(); // skips where there is no emulator: here, and not on the policy's thread
        Run run = new Run(what -> {});
        new LatencyBench(new LatencySettings(
                        List.of(tiny("cpu"), tiny("cuda"), tiny("auto")),
                        List.of(Transport.LOCAL),
                        List.of(2),
                        List.of(1, 2),
                        100,
                        0.05,
                        0.01,
                        ""))
                .run(run);
        Map<String, Result> results =
                run.results().stream().collect(Collectors.toMap(Result::caseName, Function.identity()));
        Result cpu = results.get("metaworld-tiny-ctx2-2s-local");
        Result cuda = results.get("metaworld-tiny-cuda-ctx2-2s-local");
        assertTrue(Double.isNaN(cpu.peer()), cpu.toString());
        assertEquals(cpu.value(), cuda.peer());
        assertTrue(cuda.note().contains("the same loop on the CPU"), cuda.note());
        assertNotNull(results.get("metaworld-tiny-auto-ctx2-1s-local"));
        assertNotNull(results.get("metaworld-tiny-cuda-first-step"));
        Run.Table table = run.tables().getFirst();
        assertEquals(
                List.of("engines side by side, p50 / p99, ms", "cpu", "cuda", "auto", "lower p50"), table.header());
        assertEquals(
                List.of("metaworld-tiny-ctx2-1s-local", "metaworld-tiny-ctx2-2s-local"),
                table.rows().stream().map(List::getFirst).toList());
        assertTrue(
                run.notes().stream().anyMatch(n -> n.startsWith("metaworld-tiny-auto: engine ")),
                run.notes().toString());
    }

    private record Known(String name, int rank, Optional<String> whyUnavailable) implements BackendProvider {
        @Override
        public Backend open(BackendOptions options) {
            throw new AssertionError("nothing is measured here");
        }
    }

    @Test
    void enginesAreThoseThatThereAre() {
        BackendProvider cpu = new Known("cpu", 0, Optional.empty());
        List<BackendProvider> without = List.of(new Known("cuda", 10, Optional.of("no driver")), cpu);
        List<BackendProvider> with = List.of(new Known("cuda", 10, Optional.empty()), cpu);
        assertEquals(new Engines(List.of("cpu", "cuda"), ""), Engines.of("both", with));
        Engines alone = Engines.of("both", without);
        assertEquals(List.of("cpu"), alone.names());
        assertTrue(alone.remark().endsWith("CUDA was refused: no driver"), alone.remark());
        assertTrue(Engines.of("both", List.of(cpu)).remark().contains("no CUDA engine"));
        assertEquals(List.of("cuda"), Engines.of("cuda", with).names());
        assertEquals(List.of("auto"), Engines.of("auto", without).names());
        assertEquals(new Engines(List.of("cpu"), ""), Engines.of("cpu", without));
        BenchException e = assertThrows(BenchException.class, () -> Engines.of("cuda", without));
        assertTrue(e.getMessage().contains("no driver"), e.getMessage());
        assertThrows(BenchException.class, () -> Engines.of("tpu", with));
    }

    @Test
    void everyDomainHasItsShapes() {
        String shapes = Domain.all().stream()
                .filter(d -> d.environment().isEmpty())
                .map(d -> d.name() + " "
                        + (d.task().hasImage()
                                ? d.task().imageShape()
                                : d.task().observationSize()) + "->"
                        + (d.task().discrete()
                                ? d.task().discreteActions() + " ids"
                                : d.task().actionSize()))
                .collect(Collectors.joining("; "));
        assertEquals(
                "metaworld 39->4; dmcontrol 204->6; composuite 93->8; mimicgen 95->7; atari [3, 64, 64]->18 ids;"
                        + " procgen [3, 64, 64]->15 ids; unitree-g1 26->26",
                shapes);
        assertEquals(
                EnvironmentRegistry.ids(),
                Domain.all().stream().flatMap(d -> d.environment().stream()).toList());
    }

    @ParameterizedTest
    @CsvSource({"500Hz, 500", "500 hz, 500", "100, 100", "1.5kHz, 1500", "0.5Hz, 0.5"})
    void ratesAreReadAsPeopleWriteThem(String text, double hz) {
        assertEquals(hz, Rate.parse(text), 1e-9);
    }

    @ParameterizedTest
    @ValueSource(strings = {"0", "0Hz", "-5Hz", "fast", "", "1e9", "200kHz", "NaN"})
    void otherRatesAreRefused(String text) {
        BenchException e = assertThrows(BenchException.class, () -> Rate.parse(text));
        assertTrue(e.getMessage().startsWith("a rate of " + text), e.getMessage());
    }

    @Test
    void settingsThatCannotBeUsedAreRefused() {
        List<Target> targets = targets("metaworld");
        List<Transport> local = List.of(Transport.LOCAL);
        for (Runnable bad : List.<Runnable>of(
                () -> targets("mars"),
                () -> Transport.of("pigeon"),
                () -> new LatencySettings(List.of(), local, List.of(1), List.of(1), 100, 1, 0, ""),
                () -> new LatencySettings(targets, local, List.of(-1), List.of(1), 100, 1, 0, ""),
                () -> new LatencySettings(targets, local, List.of(1), List.of(0), 100, 1, 0, ""),
                () -> new LatencySettings(targets, local, List.of(1), List.of(1), 100, 0, 0, ""),
                () -> new LatencySettings(targets, local, List.of(1), List.of(1), 100, Double.NaN, 0, ""))) {
            BenchException e = assertThrows(BenchException.class, bad::run);
            assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
        }
        assertNotNull(LatencySettings.defaults(true));
    }
}
