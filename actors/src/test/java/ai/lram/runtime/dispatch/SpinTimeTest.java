package ai.lram.runtime.dispatch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import akka.actor.typed.ActorRef;
import akka.actor.typed.ActorSystem;
import akka.actor.typed.DispatcherSelector;
import akka.actor.typed.javadsl.Behaviors;
import com.typesafe.config.ConfigException;
import com.typesafe.config.ConfigFactory;
import java.time.Duration;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SpinTimeTest {
    @ParameterizedTest
    @CsvSource({"1,0", "2,0", "3,0", "4,20000", "64,20000"})
    void aThreadSpinsOnlyWhereItTakesNobodysProcessor(int processors, long ns) {
        assertEquals(Duration.ofNanos(ns), SpinTime.usual(processors));
    }

    @Test
    void isADurationOrAuto() {
        assertEquals(7_000, nanos("spin-time = 7us"));
        assertEquals(0, nanos("spin-time = 0s"));
        assertEquals(SpinTime.usual().toNanos(), nanos("spin-time = auto"));
        assertThrows(ConfigException.class, () -> nanos("spin-time = soon"));
    }

    private static long nanos(String settings) {
        return SpinTime.nanos(ConfigFactory.parseString(settings), "spin-time");
    }

    @ParameterizedTest
    @CsvSource({"inference,lram-inference", "session,lram-session"})
    void threadsHaveNamesThatToolsOfTheSystemShowWhole(String dispatcher, String name) throws Exception {
        CompletableFuture<String> seen = new CompletableFuture<>();
        ActorSystem<Void> system = ActorSystem.create(
                Behaviors.<Void>setup(context -> {
                    ActorRef<String> actor = context.spawn(
                            Behaviors.<String>receiveMessage(message -> {
                                seen.complete(Thread.currentThread().getName());
                                return Behaviors.stopped();
                            }),
                            "named",
                            DispatcherSelector.fromConfig("lram.runtime." + dispatcher + "-dispatcher"));
                    actor.tell("who");
                    return Behaviors.empty();
                }),
                "names",
                ConfigFactory.parseString(
                                "akka.coordinated-shutdown.run-by-jvm-shutdown-hook = off\nakka.loglevel = WARNING")
                        .withFallback(ConfigFactory.load()));
        try {
            assertEquals(name, seen.get(30, TimeUnit.SECONDS).replaceAll("-[0-9]+$", ""));
        } finally {
            system.terminate();
            system.getWhenTerminated().toCompletableFuture().get(30, TimeUnit.SECONDS);
        }
    }
}
