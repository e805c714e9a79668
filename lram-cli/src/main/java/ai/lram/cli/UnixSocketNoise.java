package ai.lram.cli;

import ch.qos.logback.classic.spi.ILoggingEvent;
import ch.qos.logback.core.filter.Filter;
import ch.qos.logback.core.spi.FilterReply;

/**
 * Leaves one warning out of the log: gRPC sets SO_KEEPALIVE on Unix domain sockets, which have none, and netty warns of it at every
 * connection. What else netty's bootstrap warns of stays.
 */
public final class UnixSocketNoise extends Filter<ILoggingEvent> {
    private static final String LOGGER = "io.grpc.netty.shaded.io.netty.bootstrap.";

    @Override
    public FilterReply decide(ILoggingEvent event) {
        if (!event.getLoggerName().startsWith(LOGGER)) {
            return FilterReply.NEUTRAL;
        }
        String message = event.getFormattedMessage();
        boolean noise =
                message.startsWith("Unknown channel option 'SO_KEEPALIVE'") && message.contains("DomainSocketChannel");
        return noise ? FilterReply.DENY : FilterReply.NEUTRAL;
    }
}
