package ai.lram.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;

import ch.qos.logback.classic.LoggerContext;
import ch.qos.logback.classic.joran.JoranConfigurator;
import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.classic.util.LogbackMDCAdapter;
import ch.qos.logback.core.ConsoleAppender;
import ch.qos.logback.core.joran.spi.JoranException;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.slf4j.Logger;

class UnixSocketNoiseTest {
    private static final String NETTY = "io.grpc.netty.shaded.io.netty.";
    private static final String UNKNOWN = "Unknown channel option '{}' for channel '{}' of type '{}'";

    @Test
    void onlyTheWarningThatMeansNothingIsLeftOut() throws JoranException {
        ByteArrayOutputStream log = new ByteArrayOutputStream();
        LoggerContext context = new LoggerContext();
        context.setMDCAdapter(new LogbackMDCAdapter());
        JoranConfigurator configurator = new JoranConfigurator();
        configurator.setContext(context);
        configurator.doConfigure(UnixSocketNoiseTest.class.getResource("/logback.xml"));
        ConsoleAppender<ILoggingEvent> console = (ConsoleAppender<ILoggingEvent>)
                context.getLogger(Logger.ROOT_LOGGER_NAME).getAppender("stderr");
        console.setOutputStream(log);
        Logger bootstrap = context.getLogger(NETTY + "bootstrap.Bootstrap");
        bootstrap.warn(UNKNOWN, "SO_KEEPALIVE", "[id: 0x1]", NETTY + "channel.epoll.EpollDomainSocketChannel");
        bootstrap.warn(UNKNOWN, "SO_KEEPALIVE", "[id: 0x2]", NETTY + "channel.epoll.EpollSocketChannel");
        bootstrap.warn(UNKNOWN, "SO_LINGER", "[id: 0x3]", NETTY + "channel.epoll.EpollDomainSocketChannel");
        bootstrap.warn("Failed to register a channel");
        bootstrap.info("not shown");
        context.getLogger("ai.lram.x").info("shown");
        context.stop();
        assertEquals(
                List.of(
                        "WARN  Bootstrap: Unknown channel option 'SO_KEEPALIVE' for channel '[id: 0x2]' of type '"
                                + NETTY + "channel.epoll.EpollSocketChannel'",
                        "WARN  Bootstrap: Unknown channel option 'SO_LINGER' for channel '[id: 0x3]' of type '" + NETTY
                                + "channel.epoll.EpollDomainSocketChannel'",
                        "WARN  Bootstrap: Failed to register a channel",
                        "INFO  x: shown"),
                log.toString(StandardCharsets.UTF_8).lines().toList());
    }
}
