package ai.lram.runtime.dispatch;

import akka.dispatch.DispatcherPrerequisites;
import akka.dispatch.ExecutorServiceConfigurator;
import akka.dispatch.ExecutorServiceFactory;
import akka.dispatch.MonitorableThreadFactory;
import com.typesafe.config.Config;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;

/** Binds {@code SpinParkExecutor} to a dispatcher: {@code executor = "ai.lram.runtime.dispatch.SpinParkExecutorConfigurator"}, {@code spin-time = 20us}. */
public final class SpinParkExecutorConfigurator extends ExecutorServiceConfigurator {
    private final long spinNs;

    public SpinParkExecutorConfigurator(Config config, DispatcherPrerequisites prerequisites) {
        super(config, prerequisites);
        this.spinNs = config.getDuration("spin-time", TimeUnit.NANOSECONDS);
    }

    @Override
    public ExecutorServiceFactory createExecutorServiceFactory(String id, ThreadFactory threadFactory) {
        ThreadFactory named = threadFactory instanceof MonitorableThreadFactory akka
                ? akka.withName(akka.name() + "-" + id)
                : threadFactory;
        return () -> new SpinParkExecutor(named, spinNs);
    }
}
