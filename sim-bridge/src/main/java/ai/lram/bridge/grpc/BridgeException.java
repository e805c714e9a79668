package ai.lram.bridge.grpc;

/** A server or client that cannot do what was asked. Messages say what, why and fix. */
public abstract sealed class BridgeException extends RuntimeException
        permits BridgeConfigException,
                BindRefusedException,
                ServerStartException,
                ConnectFailedException,
                SessionRefusedException,
                ConnectionLostException,
                MessageTooLargeException,
                RehearsalException {
    private static final long serialVersionUID = 1L;

    BridgeException(String what, String why, String fix, Throwable cause) {
        super(what + "; why: " + why + "; fix: " + fix, cause);
    }

    /** For messages that came over the wire and have all three parts already. */
    BridgeException(String message, Throwable cause) {
        super(message, cause);
    }
}
