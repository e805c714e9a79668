package ai.lram.bridge.grpc;

/** A setting or an address that cannot be used. */
public final class BridgeConfigException extends BridgeException {
    private static final long serialVersionUID = 1L;

    BridgeConfigException(String what, String why, String fix, Throwable cause) {
        super(what, why, fix, cause);
    }
}
