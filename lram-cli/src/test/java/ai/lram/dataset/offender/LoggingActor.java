package ai.lram.dataset.offender;

import akka.actor.typed.Behavior;
import akka.actor.typed.javadsl.Behaviors;
import java.util.logging.Logger;
import org.bytedeco.javacpp.Pointer;

/** Breaks what {@code ArchitectureTest} forbids, so that the test can show that it looks. */
final class LoggingActor {
    private LoggingActor() {}

    static Behavior<String> behavior(Pointer pointer) {
        Logger.getLogger("offender").info(() -> "at " + pointer.address());
        return Behaviors.empty();
    }
}
