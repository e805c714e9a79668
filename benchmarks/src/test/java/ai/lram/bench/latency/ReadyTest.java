package ai.lram.bench.latency;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import ai.lram.agent.card.ModelCard;
import ai.lram.agent.engine.EngineChoice;
import ai.lram.agent.policy.Policy;
import ai.lram.agent.xlstm.XlstmConfig;
import ai.lram.backend.Backend;
import ai.lram.backend.BackendOptions;
import ai.lram.backend.Backends;
import ai.lram.backend.Stream;
import ai.lram.backend.cuda.EmulatedCuda;
import ai.lram.backend.testing.ForwardingBackend;
import ai.lram.bench.subject.DrawnPolicy;
import ai.lram.bench.subject.LramSubject;
import ai.lram.bench.subject.ModelSize;
import ai.lram.bench.subject.Shapes;
import ai.lram.runtime.LramRuntime;
import ai.lram.runtime.RuntimeSettings;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** When a server says that it is ready, the next step is one like all that follow. */
class ReadyTest {
    private static final int SESSIONS = 2;
    private static final Domain DOMAIN = Domain.named(List.of("metaworld")).getFirst();

    private final Map<String, Integer> calls = new ConcurrentHashMap<>();
    private final CountDownLatch reached = new CountDownLatch(1);
    private final CountDownLatch released = new CountDownLatch(1);

    /** What runs before a call is handed on. */
    private interface Before {
        void call(String method) throws InterruptedException;
    }

    private <T> T watched(Class<T> type, T real, Before before) {
        return type.cast(
                Proxy.newProxyInstance(type.getClassLoader(), new Class<?>[] {type}, (p, method, arguments) -> {
                    calls.merge(method.getName(), 1, Integer::sum);
                    before.call(method.getName());
                    try {
                        return method.invoke(real, arguments);
                    } catch (InvocationTargetException e) {
                        throw e.getCause();
                    }
                }));
    }

    private record Watched(Backend engine, Stream stream) implements ForwardingBackend {}

    private Policy policy(String engine, int sessions) {
        Backend plain = engine.equals("cuda") ? EmulatedCuda.open() : Backends.open(engine, BackendOptions.threads(1));
        Backend backend = new Watched(plain, watched(Stream.class, plain.stream(), method -> {}));
        ModelSize size = new ModelSize("TINY", XlstmConfig.mlstm(16, 1, 2));
        ModelCard card = Shapes.card(DOMAIN.task());
        Policy drawn = DrawnPolicy.open(backend, size, LramSubject.WEIGHTS.getFirst(), card, sessions);
        return watched(Policy.class, drawn, method -> {
            if (method.equals("warmUp")) {
                reached.countDown();
                released.await();
            }
        });
    }

    @ParameterizedTest
    @ValueSource(strings = {"cpu", "cuda"})
    void aServerIsReadyOnceItsPolicyIsWarm(String engine) throws Exception {
        if (engine.equals("cuda")) {
            EmulatedCuda.open().close(); // skips where there is no emulator: here, and not on the policy's thread
        }
        Target target = new Target("loop", engine, DOMAIN.task(), Optional.empty(), this::policy, sessions -> 0L);
        EngineChoice.Effort little = new EngineChoice.Effort(50_000_000, 4, 50_000_000);
        try (ExecutorService starter = Executors.newSingleThreadExecutor()) {
            Future<LramRuntime> started = starter.submit(() -> LramRuntime.start(
                    () -> target.open(SESSIONS, little).policy(),
                    RuntimeSettings.load().withMaxSessions(SESSIONS),
                    Optional.empty(),
                    LramRuntime.Environment.system()));
            reached.await();
            assertFalse(started.isDone(), "it is being warmed up");
            assertFalse(calls.containsKey("step"));
            released.countDown();
            try (LramRuntime runtime = started.get();
                    Robot robot = LocalRobot.open(runtime, DOMAIN.task())) {
                assertTrue(runtime.healthy());
                int rehearsed = calls.get("step");
                int recordings = calls.getOrDefault("record", 0);
                assertEquals(engine.equals("cuda") ? SESSIONS : 0, recordings, "one for each number of rows");
                Source source = Source.drawn(DOMAIN.task(), 1);
                for (int step = 0; step < 3; step++) {
                    source.act(robot.act(source.observation(), source.image(), source.reward(), source.reset())
                            .action());
                }
                assertEquals(rehearsed + 3, calls.get("step"));
                assertEquals(recordings, calls.getOrDefault("record", 0), "nothing is left to prepare");
            }
            assertEquals(1, calls.get("close"));
        } finally {
            released.countDown();
        }
    }
}
