package inpaint_server.front_door;

import io.netty.buffer.ByteBuf;
import io.netty.channel.ChannelFutureListener;
import io.netty.channel.ChannelHandlerContext;
import io.netty.handler.codec.http.FullHttpMessage;
import io.netty.handler.codec.http.FullHttpResponse;
import io.netty.handler.codec.http.HttpMessage;
import io.netty.handler.codec.http.HttpObjectAggregator;
import io.netty.handler.codec.http.HttpResponseStatus;
import io.netty.handler.codec.http.HttpUtil;
import java.util.UUID;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;

/**
 * Collects the pieces of a request, up to a number of bytes well above the engine's own limit.
 *
 * <p>A header of ours records when the first piece arrived, so that the engine counts the deadline from there. A request
 * whose pieces have not all arrived when the server stops is refused.
 */
public final class RequestAggregator extends HttpObjectAggregator {
    /** Milliseconds since 1970 at which a request's first piece arrived. */
    private static final String ARRIVED = "x-inpaint-arrived";

    private static final long CHECK_MS = 100;

    private Future<?> check;

    public RequestAggregator(int maxBytes) {
        super(maxBytes);
    }

    @Override
    protected FullHttpMessage beginAggregation(HttpMessage start, ByteBuf content) throws Exception {
        start.headers().set(ARRIVED, System.currentTimeMillis());
        check = ctx().executor().scheduleAtFixedRate(this::refuseIfDraining, CHECK_MS, CHECK_MS, TimeUnit.MILLISECONDS);
        return super.beginAggregation(start, content);
    }

    @Override
    protected void finishAggregation(FullHttpMessage request) throws Exception {
        stopChecking();
        super.finishAggregation(request);
    }

    @Override
    public void handlerRemoved(ChannelHandlerContext context) throws Exception {
        stopChecking();
        super.handlerRemoved(context);
    }

    private void stopChecking() {
        if (check != null) {
            check.cancel(false);
        }
    }

    private void refuseIfDraining() {
        if (ServerState.isDraining()) {
            stopChecking();
            FullHttpResponse refusal = ErrorResponses.draining(UUID.randomUUID().toString());
            HttpUtil.setKeepAlive(refusal, false);
            ctx().writeAndFlush(refusal).addListener(ChannelFutureListener.CLOSE);
        }
    }

    @Override
    protected void handleOversizedMessage(ChannelHandlerContext context, HttpMessage request) {
        stopChecking();
        String id = UUID.randomUUID().toString();
        context.writeAndFlush(ErrorResponses.create(HttpResponseStatus.REQUEST_ENTITY_TOO_LARGE, id))
                .addListener(ChannelFutureListener.CLOSE_ON_FAILURE);
    }
}
