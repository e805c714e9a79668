package ai.lram.runtime.dispatch;

import akka.dispatch.DispatcherPrerequisites;
import akka.dispatch.ExecutorServiceConfigurator;
import akka.dispatch.ExecutorServiceFactory;
import akka.dispatch.MonitorableThreadFactory;
import com.typesafe.config.Config;
import java.util.concurrent.ThreadFactory;

/**
 * Binds {@code SpinParkExecutor} to a dispatcher: {@code executor = "ai.lram.runtime.dispatch.SpinParkExecutorConfigurator"}, {@code spin-time =
 * 20us} or {@code auto}, {@code thread-name} as tools of the system show it, of which they show 15 characters.
 */
public final class SpinParkExecutorConfigurator extends ExecutorServiceConfigurator {
    private final long spinNs;
    private final String threadName;

    public SpinParkExecutorConfigurator(Config config, DispatcherPrerequisites prerequisites) {
        super(config, prerequisites);
        this.spinNs = SpinTime.nanos(config, "spin-time");
        this.threadName = config.getString("thread-name");
    }

    @Override
    public ExecutorServiceFactory createExecutorServiceFactory(String id, ThreadFactory threadFactory) {
        ThreadFactory named =
                threadFactory instanceof MonitorableThreadFactory akka ? akka.withName(threadName) : threadFactory;
        return () -> new SpinParkExecutor(named, spinNs);
    }
}
