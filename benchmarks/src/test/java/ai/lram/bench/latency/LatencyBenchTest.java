package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.bench.BenchException;
import ai.lram.bench.Result;
import ai.lram.bench.Run;
import ai.lram.bench.latency.LatencySettings.Transport;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bridge.env.EnvironmentRegistry;
import java.util.List;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class LatencyBenchTest {
    private static List<Target> targets(String... names) {
        return Domain.named(List.of(names)).stream()
                .map(d -> d.target(ModelSize.of("1M"), LramSubject.WEIGHTS.getFirst(), 1))
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
                        0.01))
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
                () -> new LatencySettings(List.of(), local, List.of(1), List.of(1), 100, 1, 0),
                () -> new LatencySettings(targets, local, List.of(-1), List.of(1), 100, 1, 0),
                () -> new LatencySettings(targets, local, List.of(1), List.of(0), 100, 1, 0),
                () -> new LatencySettings(targets, local, List.of(1), List.of(1), 100, 0, 0),
                () -> new LatencySettings(targets, local, List.of(1), List.of(1), 100, Double.NaN, 0))) {
            BenchException e = assertThrows(BenchException.class, bad::run);
            assertTrue(e.getMessage().contains("; fix: "), e.getMessage());
        }
        assertNotNull(LatencySettings.defaults(true));
    }
}
